"""True and predicted objects matched by the intersection over union of their pixels, as counts.

Counts of slices or stacks add up, so that scores can be pooled later; `figures` makes scores of
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import numpy as np

from fibseg.arrays import Floats, Ints, Mask
from fibseg.scores.instances.contingency import Contingency, Ids

_TWENTIETHS = tuple(range(10, 20))

IOU_THRESHOLDS = tuple(k / 20 for k in _TWENTIETHS)
"""Intersection over union from .5 to .95 in steps of .05: an object that reaches it is matched."""


class MatchCounts(TypedDict):
    """Counts of the objects of one class in one slice or stack, which add up.

    Attributes:
        truth: objects of the truth.
        predicted: predicted objects.
        matched: pairs at each of IOU_THRESHOLDS, (10,).
        iou: sum of their intersections over unions, (10,).
        pixels: of all objects of the truth; voxels in 3-D.
        split_bits: conditional entropy of the prediction given the truth, in bits, times `pixels`.
        merge_bits: of the truth given the prediction, likewise.
    """

    truth: int
    predicted: int
    matched: list[int]
    iou: list[float]
    pixels: int
    split_bits: float
    merge_bits: float


def count_matches(table: Contingency) -> MatchCounts:
    """Match the objects of a table, and measure its variation of information.

    A pair is matched where its intersection over union reaches the threshold, .5 itself included,
    as in torch-em (elf) and StarDist. Above .5 an object can have one partner only (Kirillov et
    al., CVPR 2019, doi:10.1109/CVPR.2019.00963). At .5 exactly two halves of an object may both
    reach it, or two objects of which another is the union: one pair of the two is matched.

    The variation of information (Meila, J. Multivariate Analysis 2007,
    doi:10.1016/j.jmva.2006.11.013) is taken as the CREMI challenge does: logarithms to base 2, over
    the pixels of true objects alone, where predicted background is one object.
    """
    truth_index, truth_area = _areas(table.truth, table.pixels)
    predicted_index, predicted_area = _areas(table.prediction, table.pixels)
    both = (table.truth > 0) & (table.prediction > 0)
    shared = table.pixels[both]
    row = truth_index[both]
    column = predicted_index[both]
    union = truth_area[row] + predicted_area[column] - shared
    matched = []
    iou = []
    for twentieths in _TWENTIETHS:
        # In whole numbers: 11 / 20 is not .55 in floating point.
        reaches = 20 * shared >= twentieths * union
        pairs = _one_to_one(row, column, reaches)
        matched.append(int(pairs.sum()))
        iou.append(float((shared[pairs] / union[pairs]).sum()))
    split_bits, merge_bits = _entropies(table)
    return MatchCounts(
        truth=len(np.unique(table.truth[table.truth > 0])),
        predicted=len(np.unique(table.prediction[table.prediction > 0])),
        matched=matched,
        iou=iou,
        pixels=int(table.pixels[table.truth > 0].sum()),
        split_bits=split_bits,
        merge_bits=merge_bits,
    )


def pooled_matches(counts: Iterable[MatchCounts]) -> MatchCounts:
    """Add counts of slices or stacks; none gives zeros."""
    listed = list(counts)

    def added(key: str) -> list[float]:
        rows = [entry[key] for entry in listed]  # type: ignore[literal-required]
        totals = np.array(rows).reshape(len(rows), len(IOU_THRESHOLDS)).sum(axis=0)
        return [float(total) for total in totals]

    return MatchCounts(
        truth=sum(entry["truth"] for entry in listed),
        predicted=sum(entry["predicted"] for entry in listed),
        matched=[int(count) for count in added("matched")],
        iou=added("iou"),
        pixels=sum(entry["pixels"] for entry in listed),
        split_bits=float(sum(entry["split_bits"] for entry in listed)),
        merge_bits=float(sum(entry["merge_bits"] for entry in listed)),
    )


def _areas(ids: Ids, pixels: Ints) -> tuple[Ints, Ints]:
    """Number the distinct ids of (M,) pairs: the number of each pair's id, and the pixels of it."""
    _, index = np.unique(ids, return_inverse=True)
    # Weights of bincount are floats, exact up to 2^53 pixels.
    area = np.bincount(index, pixels).astype(np.int64) if len(ids) else np.zeros(0, np.int64)
    return index, area


def _one_to_one(row: Ints, column: Ints, reaches: Mask) -> Mask:
    """Choose among pairs (M,) so that no object has two partners.

    At .5 exactly a true object and its two halves reach it, or a predicted one and its two halves;
    halves have no other partner. So the first pair of each object makes as many pairs as there can
    be, all with the same intersection over union.
    """
    chosen = np.flatnonzero(reaches)
    for side in (row, column):
        _, first = np.unique(side[chosen], return_index=True)
        chosen = chosen[first]
    pairs = np.zeros(len(row), bool)
    pairs[chosen] = True
    return pairs


def _entropies(table: Contingency) -> tuple[float, float]:
    """Conditional entropies times pixels: of prediction given truth, of truth given prediction."""
    inside = table.truth > 0
    pixels = table.pixels[inside]
    of_truth = _areas(table.truth[inside], pixels)[1]
    of_prediction = _areas(table.prediction[inside], pixels)[1]
    joint = _sum_of_logs(pixels)
    # H(B | A) = H(A, B) - H(A); a difference of rounded sums may fall just below 0.
    split = max(0.0, _sum_of_logs(of_truth) - joint)
    merge = max(0.0, _sum_of_logs(of_prediction) - joint)
    return split, merge


def _sum_of_logs(pixels: Ints | Floats) -> float:
    """Sum n log2 n over counts (M,)."""
    counts = pixels[pixels > 0].astype(np.float64)
    return float((counts * np.log2(counts)).sum())
