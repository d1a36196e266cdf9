"""3-D objects of a label stack, found slab by slab so that the stack may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fibseg.arrays import Ints, UInt8
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.measures import ObjectMeasures
from fibseg.scores.pieces import stitch
from fibseg.scores.slabs import ClassSlabs, LabelledSlab, Numbers, ReadClasses, slab_depth
from fibseg.scores.surfaces import measure_surfaces


def find_objects(
    read: ReadClasses,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    smallest: int = 1,
    fill_holes: bool = False,
    depth: int | None = None,
) -> NumberedObjects:
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
    bases: list[tuple[int, int]] = []
    # 26 neighbours: a thin tubule that is cut obliquely stays one object.
    object_of_number, pieces = stitch(_noted(slabs, bases), shape, 26)
    # Objects are left out last: what is smaller than `smallest` in one slab may be a piece of more.
    kept = pieces.voxels >= smallest
    number_of_object = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
    read_numbers = _reader(slabs, bases, number_of_object[object_of_number])
    every_number = _reader(slabs, bases, object_of_number)
    surface = measure_surfaces(map(every_number, range(shape[0])), len(pieces.voxels), spacing)
    measures = ObjectMeasures(
        class_index=pieces.class_index[kept],
        voxels=pieces.voxels[kept],
        low=pieces.low[kept],
        high=pieces.high[kept],
        centre=pieces.centre[kept],
        surface=surface[kept],
        border=pieces.border[kept],
    )
    return NumberedObjects(measures=measures, shape=shape, spacing=spacing, read=read_numbers)


def _noted(slabs: ClassSlabs, bases: list[tuple[int, int]]) -> Iterator[LabelledSlab]:
    """Give the slabs, and keep the numbers with which each of them begins."""
    for slab in slabs.foreground():
        bases.append((slab.base, slab.background_base))
        yield slab


def _reader(
    slabs: ClassSlabs, bases: Sequence[tuple[int, int]], number_of: Ints
) -> Callable[[int], Numbers]:
    """Make a reader of the object numbers (H, W) of a slice, which keeps one slab."""

    @lru_cache(maxsize=1)
    def slab_at(number: int) -> Numbers:
        slab, _ = slabs.foreground_at(number * slabs.depth, *bases[number])
        return slab.numbered(number_of)

    def read(z: int) -> Numbers:
        number, inside = divmod(z, slabs.depth)
        numbers: Numbers = slab_at(number)[inside]
        return numbers

    return read


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
