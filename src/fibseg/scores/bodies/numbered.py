"""Numbered objects of a stack that is read slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fibseg.scores.measures import ObjectMeasures
from fibseg.scores.slabs import Numbers


@dataclass(frozen=True)
class NumberedObjects:
    """The N objects of a stack.

    Attributes:
        measures: of the objects, in the order of their first voxels.
        shape: (Z, H, W).
        spacing: size of a voxel (z, y, x) in nm; 1 where it is not known.
        read: z -> (H, W) number of each voxel's object from 1 to N, 0 for none. Reading slices in
            order, or in the opposite order, costs least.
    """

    measures: ObjectMeasures
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    read: Callable[[int], Numbers]

    @property
    def count(self) -> int:
        """N."""
        return len(self.measures.voxels)

    def instances(self) -> Iterator[Numbers]:
        """Number the voxels: (H, W) slice after slice."""
        return map(self.read, range(self.shape[0]))
