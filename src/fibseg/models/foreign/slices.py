"""Another program's network on our slices: its sizes, its axes, and what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.models.foreign.running import ArrayNetwork, Floats32

if TYPE_CHECKING:
    from fibseg.models.foreign.package import Package

_BACKGROUND = "background"

_ORDER = "NCyx"
"""Axes of our arrays."""


class SliceNetwork:
    """Runs a package on slices of one channel.

    What its output means is seen in its test output: a single channel is the probability of a
    class, or its logit where it leaves [0, 1]; of several, each is a class, the first one the
    background, where they add up to 1 (probabilities) or leave [0, 1] (logits).

    Attributes:
        class_names: background first.
        fixed_side: side of the only images that it takes; None where it takes many.
    """

    def __init__(self, package: Package, infer: ArrayNetwork, test_output: Floats32):
        """Look at the description and the test output of a package.

        Raises:
            FibsegError: it takes several channels, changes the size of a slice, or gives no
                probabilities of classes that exclude each other.
        """
        self._package = package
        self._infer = infer
        self._input_axes = tensor_axes(package.input)
        self._output_axes = tensor_axes(package.output)
        channels = [axis for axis in package.input.axes if axis.type == "channel"]
        if channels and len(channels[0].channel_names) != 1:
            raise FibsegError(
                f"{package.path}: takes {len(channels[0].channel_names)} channels; a stack has one."
            )
        sizes = {str(axis.id): axis.size for axis in package.input.axes if axis.type == "space"}
        self._sizes = {name: _size_rule(package, sizes[name]) for name in ("y", "x")}
        fixed = {least for least, step in self._sizes.values() if not step}
        if len(fixed) > 1 or (fixed and not all(not step for _, step in self._sizes.values())):
            raise FibsegError(f"{package.path}: takes images of one size that are no squares.")
        self.fixed_side = next(iter(fixed), None)
        scores = self._arranged(test_output)
        self._kind = _kind_of(scores)
        if self._kind is None:
            raise FibsegError(
                f"{package.path}: the {scores.shape[1]} channels of its output are no "
                "probabilities of classes that exclude each other; fibseg runs semantic "
                "segmentation alone."
            )
        names = _channel_names(package.output, scores.shape[1])
        self.class_names = names if len(names) > 1 else [_BACKGROUND, names[0]]

    def run(self, levels: Floats32) -> Floats32:
        """Compute probabilities (N, K, H, W) of grey levels (N, 1, H, W), image by image.

        Raises:
            FibsegError: the network does not take this size.
        """
        return np.concatenate([self._of_image(image) for image in levels])

    def _of_image(self, image: Floats32) -> Floats32:
        """Compute probabilities (1, K, H, W) of an image (1, H, W)."""
        _, height, width = image.shape
        rows = self._padded(height, "y")
        columns = self._padded(width, "x")
        padded = np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")
        values = _in_axes(padded[None], self._input_axes)
        # As the description has it; 8-bit levels fit into every type.
        data = self._package.input.data
        data = data if not isinstance(data, list | tuple) else data[0]
        output = self._package.processed(values.astype(str(data.type)), self._infer)
        scores = self._arranged(output)
        if scores.shape[2:] != (rows, columns):
            raise FibsegError(
                f"{self._package.path}: makes {scores.shape[2:]} of a slice of {(rows, columns)}; "
                "expected the same size."
            )
        return self._probabilities(scores[..., :height, :width])

    def _padded(self, length: int, axis: str) -> int:
        """The next length of an axis that the network takes."""
        least, step = self._sizes[axis]
        if not step:
            if length != least:
                raise FibsegError(
                    f"{self._package.path}: takes images of {least} x {least} alone; give "
                    "windows=blend."
                )
            return length
        return least + step * max(0, -(-(length - least) // step))

    def _arranged(self, output: Floats32) -> Floats32:
        """Bring an output to the axes (N, K, H, W)."""
        letters = self._output_axes
        scores = output.transpose([letters.index(letter) for letter in _ORDER if letter in letters])
        for position, letter in enumerate(_ORDER):
            if letter not in letters:
                scores = np.expand_dims(scores, position)
        return scores

    def _probabilities(self, scores: Floats32) -> Floats32:
        """Turn scores (1, K, H, W) into probabilities of all classes, the background included."""
        # Logits of the largest and smallest networks overflow nothing in double precision.
        values = scores.astype(np.float64)
        if self._kind == "logits" and values.shape[1] > 1:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        elif self._kind == "logits":
            values = 1 / (1 + np.exp(-values.clip(-500, 500)))
        if values.shape[1] == 1:
            values = np.concatenate([1 - values, values], axis=1)
        return values.astype(np.float32)


def tensor_axes(tensor: Any) -> list[str]:
    """Axes of a tensor as N, C, y and x."""
    names = {"batch": "N", "channel": "C"}
    return [names.get(axis.type, str(axis.id)) for axis in tensor.axes]


def _in_axes(values: Floats32, letters: list[str]) -> Floats32:
    """Bring (1, 1, H, W) to other axes; those of length 1 may be missing."""
    kept = [letter for letter in _ORDER if letter in letters]
    squeezed = tuple(k for k, letter in enumerate(_ORDER) if letter not in letters)
    return values.squeeze(squeezed).transpose([kept.index(letter) for letter in letters])


def _size_rule(package: Package, size: Any) -> tuple[int, int]:
    """The least length of an axis and its step; a step of 0 for a single length."""
    if isinstance(size, int):
        return size, 0
    # The other axis gives the length, as in an image that must be a square.
    if not type(size).__name__.startswith("Parameterized"):
        raise FibsegError(
            f"{package.path}: the sides of its input depend on each other; expected a size of its "
            "own for each."
        )
    return int(size.min), int(size.step)


def _kind_of(scores: Floats32) -> str | None:
    """What scores (N, K, H, W) are: probabilities, logits, or None for neither."""
    inside = bool(((scores >= -1e-4) & (scores <= 1 + 1e-4)).all())
    if not inside:
        return "logits" if np.isfinite(scores).all() else None
    adds_up = bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
    return "probabilities" if scores.shape[1] == 1 or adds_up else None


def _channel_names(tensor: Any, count: int) -> list[str]:
    """Names of the classes of an output of so many channels, all different."""
    axes = [axis for axis in tensor.axes if axis.type == "channel"]
    names = [str(name) for name in axes[0].channel_names] if axes else ["foreground"]
    usable = len(names) == count == len(set(names)) and all(map(str.isprintable, names))
    if not usable or names == [_BACKGROUND]:
        names = [f"class {k}" for k in range(count)] if count > 1 else ["foreground"]
    return names
