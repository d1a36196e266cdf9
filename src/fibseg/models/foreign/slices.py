"""Another program's network on our slices: its sizes and its axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.models.foreign.meaning import meaning_of
from fibseg.models.foreign.running import ArrayNetwork, Floats32, shown_slice
from fibseg.models.foreign.steps import Package, Statistics

_ORDER = "NCyx"
"""Axes of our arrays."""


class SliceNetwork:
    """Runs a package on slices of one channel.

    Attributes:
        class_names: background first.
        notes: what a person should know of the classes.
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
            raise FibsegError(
                f"{package.path}: takes only images of one size, which is not square."
            )
        self.fixed_side = next(iter(fixed), None)
        self._meaning = meaning_of(package, self._arranged(test_output))
        self.class_names = self._meaning.class_names
        self.notes = self._meaning.notes
        # Of the slice whose windows were shown last.
        self._measured: tuple[UInt8, Statistics] | None = None

    def run(self, levels: Floats32) -> Floats32:
        """Compute probabilities (N, K, H, W) of grey levels (N, 1, H, W), image by image.

        Raises:
            FibsegError: the network does not take this size.
        """
        # Whole numbers, as in a stack of 8 bits.
        return np.concatenate([self._of_image(image) for image in np.rint(levels)])

    def _statistics(self, image: Floats32) -> Statistics:
        """Measure the slice that an image (1, H, W) is a window of, or the image without one."""
        whole = shown_slice()
        if whole is None:
            return self._package.statistics(self._given(image))
        if self._measured is None or self._measured[0] is not whole:
            given = self._given(whole[:1].astype(np.float32))
            self._measured = (whole, self._package.statistics(given))
        return self._measured[1]

    def _given(self, image: Floats32) -> Any:
        """An image (1, H, W) in axes and type of the description; 8 bits fit into every type."""
        data = self._package.input.data
        data = data if not isinstance(data, list | tuple) else data[0]
        return _in_axes(image[None], self._input_axes).astype(str(data.type))

    def _of_image(self, image: Floats32) -> Floats32:
        """Compute probabilities (1, K, H, W) of an image (1, H, W)."""
        _, height, width = image.shape
        rows = self._padded(height, "y")
        columns = self._padded(width, "x")
        padded = np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")
        output = self._package.processed(self._given(padded), self._infer, self._statistics(image))
        scores = self._arranged(output)
        if scores.shape[2:] != (rows, columns):
            raise FibsegError(
                f"{self._package.path}: makes {scores.shape[2:]} of a slice of {(rows, columns)}; "
                "expected the same size."
            )
        return self._meaning.probabilities(scores[..., :height, :width])

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
