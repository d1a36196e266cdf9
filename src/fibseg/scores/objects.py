"""3-D objects of a label stack, found slab by slab so that the stack may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fibseg.arrays import Floats, Ints, UInt8
from fibseg.scores.measures import ObjectMeasures
from fibseg.scores.pieces import stitch
from fibseg.scores.slabs import ClassSlabs, Numbers, ReadClasses, slab_depth
from fibseg.scores.surfaces import add_surfaces, cube_areas


@dataclass(frozen=True)
class StackObjects:
    """The objects of a stack.

    Attributes:
        measures: of N objects, in the order of their first voxels.
        slabs: the stack, which is read again for `instances`.
        number_of: (M + 1,) provisional number of a component -> number of its object from 1 to N, 0
            where the object is left out.
    """

    measures: ObjectMeasures
    slabs: ClassSlabs
    number_of: Ints

    def instances(self) -> Iterator[Numbers]:
        """Number the voxels: (H, W) slice after slice, the object's number or 0."""
        return self.slabs.numbered(self.number_of)


def find_objects(
    read: ReadClasses,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    smallest: int = 1,
    fill_holes: bool = False,
    depth: int | None = None,
) -> StackObjects:
    """Find and measure the connected objects of equal class, 26-connected, in a stack.

    The stack is read twice, and four times where holes are filled. The result does not depend on
    `depth`.

    Args:
        read: gives slices of class indices.
        shape: (Z, H, W).
        spacing: size of a voxel (z, y, x) in nm.
        smallest: objects of fewer voxels are left out.
        fill_holes: whether background that one class alone encloses counts as of that class; such
            background is 6-connected and does not touch a side of the stack.
        depth: slices that are read at once; None for as many as fit into about 1 GB.

    Returns:
        The objects and their measures.
    """
    slabs = ClassSlabs(read, shape, depth or slab_depth(shape))
    # Before objects are numbered: a filled hole adds to an object, and may join two.
    if fill_holes:
        slabs = replace(slabs, holes=_find_holes(slabs))
    # 26 neighbours: a thin tubule that is cut obliquely stays one object.
    object_of_number, pieces = stitch(slabs.foreground(), shape, 26)
    surface = _surfaces(slabs, object_of_number, len(pieces.voxels), spacing)
    # Objects are left out last: what is smaller than `smallest` in one slab may be a piece of more.
    kept = pieces.voxels >= smallest
    number_of_object = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
    measures = ObjectMeasures(
        class_index=pieces.class_index[kept],
        voxels=pieces.voxels[kept],
        low=pieces.low[kept],
        high=pieces.high[kept],
        centre=pieces.centre[kept],
        surface=surface[kept],
        border=pieces.border[kept],
    )
    return StackObjects(measures, slabs, number_of_object[object_of_number])


def _find_holes(slabs: ClassSlabs) -> dict[int, int]:
    """Find number -> class of the background components that one class alone encloses."""
    object_of_number, background = stitch(slabs.background(), slabs.shape, 6)
    # The stack is read once more, because only now is it known which components are one.
    classes_around: list[set[int]] = [set() for _ in range(len(background.voxels) + 1)]
    last: tuple[Ints, UInt8] | None = None
    for slab in slabs.background():
        numbers = object_of_number[
            np.where(slab.components > 0, slab.components.astype(np.int64) + slab.base, 0)
        ]
        classes = slab.classes
        last_slices = numbers[-1], classes[-1]
        # The last slice of the slab before goes along: neighbours along z may lie in two slabs.
        if last is not None:
            numbers = np.concatenate([last[0][None], numbers])
            classes = np.concatenate([last[1][None], classes])
        for number, class_index in _touching(numbers, classes):
            classes_around[number].add(class_index)
        last = last_slices
    class_of_hole = {
        number: next(iter(classes))
        for number, classes in enumerate(classes_around)
        # Background at a side of the stack may be open to the outside.
        if len(classes) == 1 and number > 0 and not background.border[number - 1]
    }
    # By provisional number, because `ClassSlabs.foreground` finds those again when it reads the
    # stack.
    return {
        number: class_of_hole[int(hole)]
        for number, hole in enumerate(object_of_number)
        if int(hole) in class_of_hole
    }


def _touching(numbers: Ints, classes: UInt8) -> set[tuple[int, int]]:
    """Find the pairs (background component, class) of voxels (D, H, W) that share a side."""
    pairs: set[tuple[int, int]] = set()
    for axis in range(3):
        after = [slice(None)] * 3
        before = [slice(None)] * 3
        after[axis] = slice(1, None)
        before[axis] = slice(None, -1)
        # Both ways: background may lie before its neighbour or after it.
        for side, opposite in ((tuple(after), tuple(before)), (tuple(before), tuple(after))):
            # Numbers are 0 where there is a class, and classes are 0 in the background.
            touch = (numbers[side] > 0) & (classes[opposite] > 0)
            both = np.stack([numbers[side][touch], classes[opposite][touch].astype(np.int64)])
            pairs |= set(zip(*np.unique(both, axis=1).tolist(), strict=True))
    return pairs


def _surfaces(
    slabs: ClassSlabs, object_of_number: Ints, count: int, spacing: tuple[float, float, float]
) -> Floats:
    """Measure the surface (N,) of each object in nm^2, closed at the border of the stack."""
    areas = cube_areas(spacing)
    # Entry 0 collects nothing; it keeps objects numbered from 1.
    surface = np.zeros(count + 1)
    depth, height, width = slabs.shape
    # A margin of no object around the stack closes the meshes there.
    margin = np.zeros((1, height + 2, width + 2), np.int64)
    last = margin
    for slab in slabs.foreground():
        numbers = object_of_number[
            np.where(slab.components > 0, slab.components.astype(np.int64) + slab.base, 0)
        ]
        # Every cube between voxel centres belongs to one pair of slices, so that areas add up.
        slices = np.concatenate([last, np.pad(numbers, ((0, 0), (1, 1), (1, 1)))])
        last = slices[-1:]
        if slab.start + slabs.depth >= depth:
            slices = np.concatenate([slices, margin])
        for above, below in pairwise(slices):
            add_surfaces(surface, np.stack([above, below]), areas)
    return surface[1:]
