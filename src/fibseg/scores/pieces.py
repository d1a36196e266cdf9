"""Pieces of objects: the components of single slabs, measured, and put together over slabs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import cc3d
import numpy as np

from fibseg.arrays import Floats, Ints, Mask
from fibseg.scores.slabs import LabelledSlab, Neighbours


@dataclass(frozen=True)
class Pieces:
    """Columns of N components of a slab, or of N whole objects.

    Attributes:
        class_index: (N,) their classes.
        voxels: (N,) their sizes.
        low: (N, 3) first voxel along z, y, x in the stack.
        high: (N, 3) last voxel along z, y, x.
        centre: (N, 3) sum of the positions of a component's voxels; of an object their mean.
        border: (N,) whether it touches a side of the stack.
    """

    class_index: Ints
    voxels: Ints
    low: Ints
    high: Ints
    centre: Floats
    border: Mask


def stitch(
    slabs: Iterator[LabelledSlab], shape: tuple[int, int, int], neighbours: Neighbours
) -> tuple[Ints, Pieces]:
    """Find which components of consecutive slabs belong together, and measure the objects.

    Args:
        slabs: in order, with the components of a stack.
        shape: (Z, H, W) of the stack.
        neighbours: voxels that are connected.

    Returns:
        The object of each provisional number, (M + 1,), from 1 in the order of first voxels and 0
        for 0; and the objects.
    """
    edges: list[Ints] = []
    measured: list[Pieces] = []
    above: LabelledSlab | None = None
    for slab in slabs:
        measured.append(_measure_slab(slab, shape))
        if above is not None:
            edges.append(_meetings(above, slab, neighbours))
        # Only the last slice of a slab can touch the next slab.
        above = slab.last_slice()
    count = sum(len(pieces.voxels) for pieces in measured)
    pairs = np.concatenate(edges, axis=1) if edges else np.zeros((2, 0), np.int64)
    object_of_number = numbers_of_objects(pairs, count)
    return object_of_number, _join(measured, object_of_number)


def numbers_of_objects(pairs: Ints, count: int) -> Ints:
    """Number the objects (count + 1,) of provisional numbers whose pairs (2, M) belong together."""
    # Imported here: SciPy's graph module takes longer to load than the rest of this package.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array(
        (np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(count + 1, count + 1)
    )
    _, group = connected_components(graph, directed=False)
    # The numbers of groups follow no order. Provisional numbers follow that of first voxels, so the
    # first one in each group puts the groups in that order.
    _, first, inverse = np.unique(group[1:], return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.concatenate([[0], order[inverse] + 1]).astype(np.int64)


def _measure_slab(slab: LabelledSlab, shape: tuple[int, int, int]) -> Pieces:
    """Measure the components of a slab in a stack of this shape."""
    count = slab.count
    # Boxes as numbers: as slices, cc3d would make Python objects of all components.
    statistics = cc3d.statistics(slab.components, no_slice_conversion=True)
    # Entry 0 of each column is what belongs to no component.
    boxes = np.asarray(statistics["bounding_boxes"], np.int64)[1 : count + 1].reshape(-1, 6)
    voxels = np.asarray(statistics["voxel_counts"], np.int64)[1 : count + 1]
    centroids = np.asarray(statistics["centroids"], np.float64)[1 : count + 1]
    # cc3d counts z within the slab.
    offset = np.array([slab.start, 0, 0], np.int64)
    low = boxes[:, 0::2] + offset
    high = boxes[:, 1::2] + offset
    class_index = np.zeros(count + 1, np.int64)
    # All voxels of a component have one class, so that the last one written is as good as any.
    class_index[slab.components.ravel()] = slab.classes.ravel()
    return Pieces(
        class_index=class_index[1:],
        voxels=voxels,
        low=low,
        high=high,
        # Sums and not means, since sums of pieces can be added.
        centre=(centroids + offset) * voxels[:, None],
        border=((low == 0) | (high == np.array(shape) - 1)).any(axis=1),
    )


def _join(measured: Sequence[Pieces], object_of_number: Ints) -> Pieces:
    """Put the pieces of each object together; `centre` becomes the mean."""
    # Position of each piece's object; provisional number 0 is no piece.
    owner = object_of_number[1:] - 1
    count = int(object_of_number.max(initial=0))
    columns = {
        field.name: np.concatenate([getattr(pieces, field.name) for pieces in measured])
        for field in fields(Pieces)
    }
    class_index = np.zeros(count, np.int64)
    voxels = np.zeros(count, np.int64)
    # Beyond any position, so that the first piece replaces them.
    low = np.full((count, 3), 2**62, np.int64)
    high = np.full((count, 3), -1, np.int64)
    centre = np.zeros((count, 3))
    border = np.zeros(count, bool)
    class_index[owner] = columns["class_index"]
    # ufunc.at, since an object that has several pieces stands several times in `owner`.
    np.add.at(voxels, owner, columns["voxels"])
    np.minimum.at(low, owner, columns["low"])
    np.maximum.at(high, owner, columns["high"])
    np.add.at(centre, owner, columns["centre"])
    np.logical_or.at(border, owner, columns["border"])
    return Pieces(
        class_index=class_index,
        voxels=voxels,
        low=low,
        high=high,
        centre=centre / np.maximum(voxels, 1)[:, None],
        border=border,
    )


def _meetings(above: LabelledSlab, below: LabelledSlab, neighbours: Neighbours) -> Ints:
    """Find the pairs (2, M) of provisional numbers of components that touch between two slabs."""
    upper = above.components[-1].astype(np.int64)
    lower = below.components[0].astype(np.int64)
    upper_classes = above.classes[-1]
    lower_classes = below.classes[0]
    steps = (0,) if neighbours == 6 else (-1, 0, 1)
    height, width = upper.shape
    pairs = []
    for row in steps:
        for column in steps:
            # The lower slice shifted by (row, column) against the upper one, cut to their overlap.
            here = (
                slice(max(0, row), height + min(0, row)),
                slice(max(0, column), width + min(0, column)),
            )
            there = (
                slice(max(0, -row), height + min(0, -row)),
                slice(max(0, -column), width + min(0, -column)),
            )
            # Touching components of two classes are two objects.
            touch = upper_classes[here] == lower_classes[there]
            touch &= (upper[here] > 0) & (lower[there] > 0)
            pairs.append(
                np.stack([upper[here][touch] + above.base, lower[there][touch] + below.base])
            )
    # Each pair once: large components touch in thousands of pixels.
    return np.unique(np.concatenate(pairs, axis=1), axis=1)
