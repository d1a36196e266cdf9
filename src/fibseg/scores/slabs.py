"""A stack of class indices that is read and labelled a slab of slices at a time.

Components get provisional numbers that run on from slab to slab; `fibseg.scores.pieces` finds which
of them are parts of one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints, UInt8

ReadClasses = Callable[[int], UInt8]
"""z -> (H, W) class indices, 0 for background."""

Neighbours = Literal[6, 26]
"""Voxels that are connected: those that share a side, or also an edge or a corner."""

Numbers = NDArray[np.uint32]
"""The number of each voxel's component or object, from 1; 0 where there is none."""

_SLAB_VOXELS = 2**23
"""Voxels of a slab: large enough for speed, at some 120 bytes for each about 1 GB of memory."""


@dataclass(frozen=True)
class LabelledSlab:
    """Components of a slab of D slices.

    Attributes:
        start: z of its first slice.
        components: (D, H, W) numbers from 1 within the slab.
        base: provisional number before the slab's first one: component k has number base + k.
        classes: (D, H, W) class indices.
        background_base: likewise of the components of the background, where holes are filled.
    """

    start: int
    components: Numbers
    base: int
    classes: UInt8
    background_base: int = 0

    @property
    def count(self) -> int:
        """How many components the slab has."""
        return int(self.components.max(initial=0))

    def numbered(self, number_of: Ints) -> Numbers:
        """Give voxels (D, H, W) the number of their provisional one, (M + 1,), 0 for none."""
        numbers = number_of[self.base : self.base + self.count + 1].astype(np.uint32)
        # Entry 0 belongs to the last component of the slab before; here it stands for none.
        numbers[0] = 0
        return numbers[self.components]

    def last_slice(self) -> LabelledSlab:
        """Copy the slab's last slice as a slab, so that the rest can be freed."""
        start = self.start + len(self.classes) - 1
        return LabelledSlab(start, self.components[-1:].copy(), self.base, self.classes[-1:].copy())


@dataclass(frozen=True)
class ClassSlabs:
    """A stack of class indices, read slab by slab, as often as needed.

    Attributes:
        read: gives slices.
        shape: (Z, H, W).
        depth: slices of a slab.
        holes: provisional number of a background component -> class that it is filled with.
    """

    read: ReadClasses
    shape: tuple[int, int, int]
    depth: int
    holes: Mapping[int, int] = field(default_factory=dict)

    def starts(self) -> range:
        """List the first slice of each slab."""
        return range(0, self.shape[0], self.depth)

    def background(self) -> Iterator[LabelledSlab]:
        """Label the background of the stack as it is read, 6-connected."""
        base = 0
        for start in self.starts():
            classes = self._classes(start)
            # 6 neighbours, since objects have 26: else a hole would leak through a surface whose
            # voxels touch by corners only, and which therefore is closed.
            components = label_components((classes == 0).astype(np.uint8), 6)
            slab = LabelledSlab(start, components, base, classes)
            yield slab
            base += slab.count

    def foreground(self) -> Iterator[LabelledSlab]:
        """Label the components of equal class, 26-connected, with `holes` filled."""
        base = 0
        background_base = 0
        for start in self.starts():
            slab, background_count = self.foreground_at(start, base, background_base)
            yield slab
            base += slab.count
            background_base += background_count

    def foreground_at(
        self, start: int, base: int, background_base: int
    ) -> tuple[LabelledSlab, int]:
        """Label the slab that starts at a slice; its bases are those of an earlier `foreground`.

        Returns:
            The slab, and how many components its background has, which are counted for holes alone.
        """
        classes = self._classes(start)
        count = 0
        # Labelling the background again takes time, so not without holes.
        if self.holes:
            components = label_components((classes == 0).astype(np.uint8), 6)
            count = int(components.max(initial=0))
            # Background that is no hole stays 0.
            class_of_component = np.zeros(count + 1, np.uint8)
            for number in range(1, count + 1):
                class_of_component[number] = self.holes.get(background_base + number, 0)
            classes = np.where(classes == 0, class_of_component[components], classes)
        slab = LabelledSlab(
            start=start,
            components=label_components(classes, 26),
            base=base,
            classes=classes,
            background_base=background_base,
        )
        return slab, count

    def numbered(self, number_of: Ints) -> Iterator[Numbers]:
        """Number the voxels of the foreground, slice (H, W) after slice.

        `number_of` (M + 1,) gives the number of each provisional one, from 1, 0 for none.
        """
        for slab in self.foreground():
            yield from slab.numbered(number_of)

    def _classes(self, start: int) -> UInt8:
        """Read the class indices (D, H, W) of the slab that starts at a slice."""
        stop = min(start + self.depth, self.shape[0])
        return np.stack([self.read(z) for z in range(start, stop)])


def slab_depth(shape: tuple[int, int, int]) -> int:
    """Count the slices of a slab that fit into memory, 2 at least, for a shape (Z, H, W)."""
    return max(2, _SLAB_VOXELS // (shape[1] * shape[2]))


def label_components(classes: UInt8, neighbours: Neighbours) -> Numbers:
    """Number the connected components of equal class in (D, H, W) from 1; 0 stays 0."""
    return np.asarray(cc3d.connected_components(classes, connectivity=neighbours), np.uint32)
