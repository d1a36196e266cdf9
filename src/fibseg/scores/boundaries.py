"""Scores of thin structures, where a shift of a pixel costs much of the area: boundary F1 and clDice of a slice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from fibseg.arrays import IGNORE

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def masks_of(truth: Labels, prediction: Labels, index: int) -> tuple[Mask, Mask, Mask]:
    """Class `index` in truth and prediction (H, W), and where both sides say something."""
    known = (truth != IGNORE) & (prediction != IGNORE)
    return known & (truth == index), known & (prediction == index), known


def boundary(mask: Mask, known: Mask) -> Mask:
    """Pixels of a mask (H, W) with a neighbour above, below, left or right that is outside.

    The edges of the slice and of what nobody annotated are no boundary: the structure may go on there.
    """
    inner: Mask = ndimage.binary_erosion(mask | ~known, border_value=1)
    return mask & ~inner


def boundary_counts(
    truth: Labels, prediction: Labels, index: int, tolerance: float, spacing: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Boundary pixels of the prediction near the true boundary, all of them, and the same of the truth.

    Args:
        truth: (H, W) class indices, as `prediction`; pixels that are IGNORE on either side count nowhere.
        prediction: to be judged.
        index: of the class.
        tolerance: what is near, in the unit of `spacing`.
        spacing: of rows and of columns, in nm.
    """
    of_truth, of_prediction, known = masks_of(truth, prediction, index)
    edges = boundary(of_prediction, known), boundary(of_truth, known)
    near = [
        int((edge & _within(other, tolerance, spacing)).sum())
        for edge, other in (edges, edges[::-1])
    ]
    return near[0], int(edges[0].sum()), near[1], int(edges[1].sum())


def _within(edge: Mask, tolerance: float, spacing: tuple[float, float]) -> Mask:
    if not edge.any():
        return np.zeros_like(edge)
    return np.asarray(
        ndimage.distance_transform_edt(~edge, sampling=spacing) <= tolerance * (1 + 1e-9)
    )


def boundary_f1(
    truth: Labels, prediction: Labels, index: int, tolerance: float, spacing: tuple[float, float]
) -> float:
    """Harmonic mean of the shares of both boundaries that lie within `tolerance` of the other one.

    Of a slice (H, W) as in `boundary_counts`; NaN where the truth has no boundary: without the class, or full of it
    (Csurka et al., BMVC 2013, doi 10.5244/C.27.32).

    >>> truth = np.zeros((9, 9), np.uint8); truth[4] = 1
    >>> boundary_f1(truth, np.roll(truth, 1, axis=0), 1, tolerance=1, spacing=(1, 1))
    1.0
    """
    near_prediction, predicted, near_truth, true = boundary_counts(
        truth, prediction, index, tolerance, spacing
    )
    return _harmonic(near_prediction, predicted, near_truth, true) if true else math.nan


def cl_dice(truth: Labels, prediction: Labels, index: int) -> float:
    """Harmonic mean of the shares of both skeletons that lie in the other side's mask, clDice of one slice (H, W).

    NaN where the truth has no pixel of the class (Shit et al., CVPR 2021, arXiv 2003.07311).

    >>> truth = np.zeros((9, 9), np.uint8); truth[4] = 1
    >>> broken = truth.copy(); broken[:, 6:] = 0
    >>> round(cl_dice(truth, broken, 1), 3)
    0.8
    """
    of_truth, of_prediction, _ = masks_of(truth, prediction, index)
    if not of_truth.any():
        return math.nan
    lines: tuple[Mask, Mask] = skeletonize(of_prediction), skeletonize(of_truth)  # type: ignore[no-untyped-call]
    inside = [
        int((line & mask).sum())
        for line, mask in zip(lines, (of_truth, of_prediction), strict=True)
    ]
    return _harmonic(inside[0], int(lines[0].sum()), inside[1], int(lines[1].sum()))


def _harmonic(first: int, of_first: int, second: int, of_second: int) -> float:
    """Of two shares; 0 where a side has nothing or nothing of it counts."""
    if first == 0 or second == 0:
        return 0.0
    precision, recall = first / of_first, second / of_second
    return 2 * precision * recall / (precision + recall)
