"""Objects that continue from one split into another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SPECK = 4
"""Pixels; smaller components than this are no organelles."""


@dataclass
class ObjectsAcrossSplits:
    """3-D objects of one class of one volume.

    2-D components (8-connected) of two slices that follow each other are one object where a pixel of both lies in one
    place; a slice that is missing or not annotated ends an object.
    """

    parent: list[int] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    before: tuple[int, NDArray[np.int32]] | None = None

    def add(self, z: int, split: str, mask: NDArray[np.bool_]) -> int:
        """Take the mask (H, W) of a slice; gives the number of its specks."""
        components, count = ndimage.label(mask, structure=np.ones((3, 3)))
        first = len(self.parent)
        self.parent += range(first, first + count)
        self.splits += [split] * count
        self.areas += np.bincount(components.ravel(), minlength=count + 1)[1:].tolist()
        numbers = np.where(components > 0, components + first - 1, -1).astype(np.int32)
        if (
            self.before is not None
            and self.before[0] == z - 1
            and self.before[1].shape == numbers.shape
        ):
            both = (numbers >= 0) & (self.before[1] >= 0)
            for one, other in np.unique(
                np.stack([numbers[both], self.before[1][both]]), axis=1
            ).T.tolist():
                self.parent[self._root(one)] = self._root(other)
        self.before = (z, numbers)
        return sum(area < SPECK for area in self.areas[first:])

    def _root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def shared(self, split: str, other: str) -> NDArray[np.int64]:
        """Objects of a split that continue into another, all it has, and their pixels in the split's slices."""
        reached: dict[int, bool] = {}
        pixels: dict[int, int] = {}
        for number, own in enumerate(self.splits):
            root = self._root(number)
            reached[root] = reached.get(root, False) or own == other
            if own == split:
                pixels[root] = pixels.get(root, 0) + self.areas[number]
        both = [root for root in pixels if reached[root]]
        return np.array(
            [len(both), len(pixels), sum(pixels[root] for root in both), sum(pixels.values())]
        )
