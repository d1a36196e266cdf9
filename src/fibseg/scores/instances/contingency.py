"""How many pixels each true object shares with each predicted one, as a sparse table.

A stack of a thousand objects has millions of pairs, nearly all of them without a shared pixel; only
the others are kept. Tables of slices add up to that of their stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints

Ids = NDArray[np.integer[Any]]
"""Id of each pixel's object, of any whole numbers; 0 where there is none."""

_UInt64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Contingency:
    """The M pairs of ids that share pixels, in ascending order.

    Attributes:
        truth: (M,) id of the true object, 0 for no object.
        prediction: (M,) id of the predicted one, likewise.
        pixels: (M,) how many pixels have both; voxels in 3-D.
    """

    truth: _UInt64
    prediction: _UInt64
    pixels: Ints

    def __add__(self, other: Contingency) -> Contingency:
        """Give the table of two parts of a stack together, in which an id is one object."""
        return _summed(
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.prediction, other.prediction]),
            np.concatenate([self.pixels, other.pixels]),
        )


EMPTY_CONTINGENCY = Contingency(
    np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
)
"""The table of no pixel."""


def contingency(truth: Ids, prediction: Ids) -> Contingency:
    """Count the pixels of each pair of ids in two arrays of one shape.

    Ids may use all of 64 bits. A pixel with a negative id on either side is not known and counts
    nowhere.

    >>> contingency(np.array([[1, 1, 2**40]]), np.array([[0, 5, 5]])).pixels.tolist()
    [1, 1, 1]

    Raises:
        ValueError: the arrays differ in shape.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"ids of shapes {truth.shape} and {prediction.shape}")
    rows = truth.ravel()
    columns = prediction.ravel()
    # Neighbours mostly have the same two ids: runs of them are counted at once, and few are sorted.
    changes = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, rows.size), bool), changes]))
    lengths = np.diff(np.append(starts, rows.size))
    rows = rows[starts]
    columns = columns[starts]
    known = (rows >= 0) & (columns >= 0)
    return _summed(rows[known].astype(np.uint64), columns[known].astype(np.uint64), lengths[known])


def _summed(truth: _UInt64, prediction: _UInt64, pixels: Ints) -> Contingency:
    """Add the pixels of equal pairs."""
    if not len(truth):
        return EMPTY_CONTINGENCY
    order = np.lexsort((prediction, truth))
    rows = truth[order]
    columns = prediction[order]
    is_first = np.concatenate([[True], (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])])
    starts = np.flatnonzero(is_first)
    totals = np.add.reduceat(pixels[order].astype(np.int64), starts)
    return Contingency(rows[starts], columns[starts], totals)
