"""Objects that continue from one split into another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.arrays import Mask

SPECK_PIXELS = 4
"""Components of fewer pixels are no organelles."""


class SharedObjects(NamedTuple):
    """Objects of a split that continue into another.

    Attributes:
        objects: that continue.
        all_objects: of the split.
        pixels: of the objects that continue, in the slices of the split.
        all_pixels: of all objects, in the slices of the split.
    """

    objects: int
    all_objects: int
    pixels: int
    all_pixels: int


class ObjectsAcrossSplits:
    """3-D objects of one class of one volume.

    Two 2-D components (8-connected) of neighbouring slices are one object where they share a
    pixel's place. A slice that is missing or unannotated ends an object.
    """

    def __init__(self) -> None:
        # One entry per 2-D component. The parents form a union-find forest: the components of an
        # object lead to one root (Galler and Fischer, 1964, DOI 10.1145/364099.364331).
        self._parents: list[int] = []
        self._splits: list[str] = []
        self._areas: list[int] = []
        self._last_z = -1
        self._last_numbers: NDArray[np.int32] | None = None

    def add(self, z: int, split: str, mask: Mask) -> int:
        """Add the mask (H, W) of a slice; gives the number of its specks."""
        # A structure of ones makes pixels that touch by a corner neighbours.
        components, count = ndimage.label(mask, structure=np.ones((3, 3)))
        first = len(self._parents)
        areas = np.bincount(components.ravel(), minlength=count + 1)[1:].tolist()
        self._parents += range(first, first + count)
        self._splits += [split] * count
        self._areas += areas
        # Components count from 1 in their slice; these numbers count over all slices.
        numbers = np.where(components > 0, components + first - 1, -1).astype(np.int32)
        last = self._last_numbers
        if last is not None and self._last_z == z - 1 and last.shape == numbers.shape:
            self._join(numbers, last)
        self._last_z = z
        self._last_numbers = numbers
        return sum(area < SPECK_PIXELS for area in areas)

    def _join(self, numbers: NDArray[np.int32], last: NDArray[np.int32]) -> None:
        """Make one object of components that overlap in two slices; -1 is background."""
        overlap = (numbers >= 0) & (last >= 0)
        pairs = np.unique(np.stack([numbers[overlap], last[overlap]]), axis=1)
        for number, last_number in pairs.T.tolist():
            # Either root may become the parent; halved paths keep the trees flat enough.
            self._parents[self._root(number)] = self._root(last_number)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            # Halving the path keeps later searches short.
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def shared(self, split: str, into: str) -> SharedObjects:
        """Count the objects of a split that continue into the split `into`."""
        continues: set[int] = set()
        pixels: dict[int, int] = {}
        for number, component_split in enumerate(self._splits):
            root = self._root(number)
            if component_split == into:
                continues.add(root)
            if component_split == split:
                pixels[root] = pixels.get(root, 0) + self._areas[number]
        # By root: an object of many components counts once.
        both = [root for root in pixels if root in continues]
        return SharedObjects(
            objects=len(both),
            all_objects=len(pixels),
            pixels=sum(pixels[root] for root in both),
            all_pixels=sum(pixels.values()),
        )
