"""A project as a window shows it: slices that are read when seen, and saved when painted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from fibseg.annotation.project import AnnotationProject
from fibseg.arrays import IGNORE, Pixels
from fibseg.errors import FibsegError

_KEPT = 32
"""Slices of an array that stay in memory after they were seen."""


class SliceArray:
    """An array (Z, H, W) whose slices are read one by one, for viewers that index arrays.

    Basic slices and arrays of indices are understood. Where it can be written, changed slices stay
    in memory until they are saved.

    Attributes:
        shape: (Z, H, W).
        dtype: of the pixels.
        changed: slices that were written and are not saved.
    """

    ndim = 3

    def __init__(
        self, shape: tuple[int, int, int], dtype: Any, read: Callable[[int], Pixels], writes: bool
    ):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.changed: dict[int, Pixels] = {}
        self._read = read
        self._writes = writes
        self._seen: OrderedDict[int, Pixels] = OrderedDict()

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def slice(self, z: int) -> Pixels:
        """Read a slice (H, W), as it was changed."""
        changed: Pixels | None = self.changed.get(z)
        if changed is not None:
            return changed
        if z not in self._seen:
            self._seen[z] = self._read(z)
            if len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        self._seen.move_to_end(z)
        pixels: Pixels = self._seen[z]
        return pixels

    def forget(self, z: int) -> None:
        """Read a slice again when it is seen: it has changed elsewhere."""
        self._seen.pop(z, None)
        self.changed.pop(z, None)

    def __getitem__(self, key: Any) -> Pixels:
        first, rest = _split(key)
        if isinstance(first, int | np.integer):
            part: Pixels = self.slice(self._position(first))[rest]
            return part
        if isinstance(first, slice):
            positions = range(*first.indices(self.shape[0]))
            if not positions:
                return np.empty((0, *self.shape[1:]), self.dtype)[:, *rest]
            return np.stack([self.slice(z) for z in positions])[:, *rest]
        indices = np.broadcast_arrays(first, *rest)
        values = np.empty(indices[0].shape, self.dtype)
        for z in np.unique(indices[0]).tolist():
            here = indices[0] == z
            values[here] = self.slice(self._position(z))[indices[1][here], indices[2][here]]
        return values

    def __setitem__(self, key: Any, value: Any) -> None:
        first, rest = _split(key)
        if isinstance(first, int | np.integer):
            self._changing(self._position(first))[rest] = value
            return
        if isinstance(first, slice):
            positions = range(*first.indices(self.shape[0]))
            if positions:
                target = np.stack([self.slice(z) for z in positions])
                target[:, *rest] = value
                for z, pixels in zip(positions, target, strict=True):
                    self._changing(z)[:] = pixels
            return
        *indices, values = np.broadcast_arrays(first, *rest, value)
        for z in np.unique(indices[0]).tolist():
            here = indices[0] == z
            place = (indices[1][here], indices[2][here])
            self._changing(self._position(z))[place] = values[here]

    def _position(self, z: Any) -> int:
        position = int(z) + (self.shape[0] if z < 0 else 0)
        if not 0 <= position < self.shape[0]:
            raise IndexError(f"slice {z} of {self.shape[0]}")
        return position

    def _changing(self, z: int) -> Pixels:
        """The slice to write to."""
        if not self._writes:
            raise FibsegError("this layer shows what a model proposed; accept it to change it.")
        if z not in self.changed:
            self.changed[z] = np.array(self.slice(z))
            self._seen.pop(z, None)
        return self.changed[z]


def _split(key: Any) -> tuple[Any, tuple[Any, ...]]:
    """The index along z, and the others with all axes."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        at = next(k for k, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (4 - len(parts))
    parts += [slice(None)] * (3 - len(parts))
    return parts[0], tuple(parts[1:])


class Session:
    """The arrays of an opened project.

    Attributes:
        project: which is open.
        image: grey values.
        labels: class indices that can be painted.
        reviewed: 1 where a person has looked; can be painted.
        proposed: what a model proposed, class indices.
    """

    def __init__(self, project: AnnotationProject):
        depth, height, width = project.image.shape
        shape = (depth, height, width)
        layers = project.layers
        self.project = project
        self.image = SliceArray(shape, project.image.dtype, project.image.read, writes=False)
        self.labels = SliceArray(shape, np.uint8, layers.labels, writes=True)
        self.reviewed = SliceArray(
            shape, np.uint8, lambda z: layers.reviewed(z).astype(np.uint8), writes=True
        )
        self.proposed = SliceArray(shape, np.uint8, self._proposal, writes=False)

    def save(self) -> list[int]:
        """Save the slices that were painted; gives those that differed.

        Raises:
            FibsegError: pixels were painted with a value that is no class; they are left as they
                were, and everything else is saved.
            DiskFullError: there is no room; what is not saved stays in memory, for the next time.
        """
        saved = []
        unknown = set[int]()
        for z in sorted({*self.labels.changed, *self.reviewed.changed}):
            # Copies: a person may paint on while they are written.
            labels = self.labels.slice(z).copy()
            reviewed = self.reviewed.slice(z).copy()
            strange = (labels > len(self.project.state.classes)) & (labels != IGNORE)
            if strange.any():
                unknown.update(np.unique(labels[strange]).tolist())
                labels[strange] = self.project.layers.labels(z)[strange]
                self.labels[z] = labels
            if self.project.paint(z, labels, reviewed != 0):
                saved.append(z)
            for array, pixels in ((self.labels, labels), (self.reviewed, reviewed)):
                if np.array_equal(array.slice(z), pixels):
                    array.forget(z)
        if unknown:
            raise FibsegError(
                f"value {min(unknown)} is no class of the project; its pixels were not saved. "
                "Choose a class in the plugin, and add new ones there."
            )
        return saved

    def complete(self, z: int) -> None:
        """Call a slice reviewed everywhere."""
        self.reviewed[z] = 1
        self.save()

    def accept(self, z: int) -> None:
        """Take the proposal for a slice as its labels.

        Raises:
            FibsegError: there is none.
        """
        self.save()
        self.project.accept(z)
        self.refresh(z)

    def undo(self) -> list[str]:
        """Take back the last change that was saved."""
        self.save()
        lines = self.project.undo()
        for z in range(self.labels.shape[0]):
            self.refresh(z)
        return lines

    def refresh(self, z: int) -> None:
        """Read a slice again when it is seen."""
        for array in (self.labels, self.reviewed, self.proposed):
            array.forget(z)

    def _proposal(self, z: int) -> Pixels:
        proposal = self.project.layers.proposed(z)
        return np.zeros(self.proposed.shape[1:], np.uint8) if proposal is None else proposal
