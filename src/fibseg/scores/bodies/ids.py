"""Objects of a stack of ids: each id is one object, wherever its voxels lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints, Mask, Pixels
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.measures import ObjectMeasures
from fibseg.scores.slabs import Numbers, ReadClasses
from fibseg.scores.surfaces import measure_surfaces


def find_ids(
    read: Callable[[int], Pixels],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    smallest: int = 1,
    read_classes: ReadClasses | None = None,
) -> NumberedObjects:
    """Number and measure the objects of a stack of ids, slice by slice.

    Args:
        read: z -> (H, W) ids, of any whole numbers; 0 and negative ones are no object.
        shape: (Z, H, W).
        spacing: size of a voxel (z, y, x) in nm.
        smallest: objects of fewer voxels are left out.
        read_classes: z -> (H, W) class indices. An object is of the class that most of its voxels
            have, the background aside; without them, or where it has none, of class 1.

    Returns:
        The objects in the order of their first voxels.
    """
    rows = _Rows()
    for z in range(shape[0]):
        rows.add(z, read(z), None if read_classes is None else read_classes(z))
    ids = np.array(list(rows.row_of), object)
    table = rows.table[: len(ids)]
    kept = table["voxels"] >= smallest
    # 64 bits with the sign of the ids hold them all.
    wide = np.uint64 if len(ids) and max(ids) >= 2**63 else np.int64
    kept_ids = ids[kept].astype(wide)
    order = np.argsort(kept_ids)

    def read_numbers(z: int) -> Numbers:
        return _numbers(read(z), kept_ids[order], order + 1)

    voxels = table["voxels"][kept]
    low = table["low"][kept]
    high = table["high"][kept]
    spaces = (read_numbers(z) for z in range(shape[0]))
    measures = ObjectMeasures(
        class_index=_classes(rows.class_counts[: len(ids)][kept]),
        voxels=voxels,
        low=low,
        high=high,
        centre=table["sums"][kept] / np.maximum(voxels, 1)[:, None],
        surface=measure_surfaces(spaces, int(kept.sum()), spacing),
        border=_at_border(low, high, shape),
    )
    return NumberedObjects(measures=measures, shape=shape, spacing=spacing, read=read_numbers)


_ROW = np.dtype(
    [("voxels", np.int64), ("low", np.int64, 3), ("high", np.int64, 3), ("sums", "f8", 3)]
)


@dataclass
class _Rows:
    """A row of sums for each id, in the order in which ids are met.

    Attributes:
        row_of: id -> row.
        table: (at least N,) voxels, boxes and sums of positions.
        class_counts: (at least N, K + 1) voxels by class, as far as classes were met; one column
            without any.
    """

    def __init__(self) -> None:
        self.row_of: dict[int, int] = {}
        self.table = np.zeros(0, _ROW)
        self.class_counts = np.zeros((0, 1), np.int64)

    def add(self, z: int, ids: Pixels, classes: Pixels | None) -> None:
        """Add a slice (H, W)."""
        y, x = np.nonzero(ids > 0)
        if not len(y):
            return
        values, first, inverse = np.unique(ids[y, x], return_index=True, return_inverse=True)
        # By first voxels and not by ids, which another program may have dealt out anew.
        for k in np.argsort(first).tolist():
            self.row_of.setdefault(int(values[k]), len(self.row_of))
        self._grow(1 if classes is None else int(classes.max()) + 1)
        rows = np.array([self.row_of[value] for value in values.tolist()])
        counts = np.bincount(inverse)
        of_slice = self.table[rows]
        of_slice["voxels"] += counts
        for axis, positions in enumerate((np.full(len(y), z), y, x)):
            of_slice["sums"][:, axis] += np.bincount(inverse, positions)
            np.minimum.at(of_slice["low"][:, axis], inverse, positions)
            np.maximum.at(of_slice["high"][:, axis], inverse, positions)
        self.table[rows] = of_slice
        if classes is not None:
            np.add.at(self.class_counts, (rows[inverse], classes[y, x]), 1)

    def _grow(self, columns: int) -> None:
        more_columns = max(0, columns - self.class_counts.shape[1])
        self.class_counts = np.pad(self.class_counts, ((0, 0), (0, more_columns)))
        missing = len(self.row_of) - len(self.table)
        if missing <= 0:
            return
        # Twice as many, so that few copies are made.
        more = np.zeros(missing + len(self.table), _ROW)
        more["low"] = 2**62
        more["high"] = -1
        self.table = np.concatenate([self.table, more])
        self.class_counts = np.pad(self.class_counts, ((0, len(more)), (0, 0)))


def _numbers(ids: Pixels, ordered: NDArray[np.integer], numbers: Ints) -> Numbers:
    """Replace ids (H, W) by the numbers of the `ordered` ones (N,); others become 0."""
    if not len(ordered):
        return np.zeros(ids.shape, np.uint32)
    inside = ids > 0
    values = ids[inside].astype(ordered.dtype)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    result = np.zeros(ids.shape, np.uint32)
    result[inside] = np.where(ordered[places] == values, numbers[places], 0)
    return result


def _classes(counts: Ints) -> Ints:
    """Choose the class of N objects by their voxels (N, K + 1) of each class."""
    counts = counts.copy()
    counts[:, 0] = 0
    # The first of equal ones; class 1 where an object has none.
    return np.where(counts.any(axis=1), counts.argmax(axis=1), 1)


def _at_border(low: Ints, high: Ints, shape: tuple[int, int, int]) -> Mask:
    return np.asarray(((low == 0) | (high == np.array(shape) - 1)).any(axis=1))
