"""Scores of thin structures, where a shift by one pixel costs much of the area.

Boundary F1 (Csurka et al., BMVC 2013) and clDice (Shit et al., CVPR 2021) of single slices.
"""

from __future__ import annotations

import math

import numpy as np

from fibseg.arrays import IGNORE, Mask, UInt8

_ROUNDING = 1e-9
"""Relative margin on a tolerance: distances that should equal it may differ in their last bits."""


def masks_of(truth: UInt8, prediction: UInt8, index: int) -> tuple[Mask, Mask, Mask]:
    """Make masks (H, W) of class `index` in truth and prediction, and of the known pixels.

    A pixel is known where neither side is IGNORE.
    """
    known = (truth != IGNORE) & (prediction != IGNORE)
    return known & (truth == index), known & (prediction == index), known


def boundary(mask: Mask, known: Mask) -> Mask:
    """Find the pixels of a mask (H, W) with a neighbour above, below, left or right outside it.

    The edges of the slice and of its unannotated parts are no boundary: the structure may continue
    there.
    """
    # Imported here, as scikit-image below: `fibseg.runs` imports this package and needs neither.
    from scipy import ndimage

    # Unknown pixels are added, and border_value=1 adds those beyond the slice: erosion then removes
    # only pixels beside known background.
    inner: Mask = ndimage.binary_erosion(mask | ~known, border_value=1)
    return mask & ~inner


def boundary_counts(
    truth: UInt8, prediction: UInt8, index: int, tolerance: float, spacing: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Count boundary pixels of both sides, and those near the boundary of the opposite side.

    Args:
        truth: (H, W) class indices; pixels that are IGNORE on either side count nowhere.
        prediction: (H, W) class indices to score.
        index: of the class.
        tolerance: distance up to which pixels are near, in the unit of `spacing`.
        spacing: distance of rows and of columns, in nm.

    Returns:
        Pixels of the predicted boundary near the true one, pixels of the predicted boundary, pixels
        of the true boundary near the predicted one, pixels of the true boundary.
    """
    # Counts and not shares are returned, so that a caller may pool the slices of a split.
    truth_mask, prediction_mask, known = masks_of(truth, prediction, index)
    predicted = boundary(prediction_mask, known)
    true = boundary(truth_mask, known)
    near_true = predicted & _within(true, tolerance, spacing)
    near_predicted = true & _within(predicted, tolerance, spacing)
    return int(near_true.sum()), int(predicted.sum()), int(near_predicted.sum()), int(true.sum())


def _within(edge: Mask, tolerance: float, spacing: tuple[float, float]) -> Mask:
    """Find the pixels (H, W) at most `tolerance` away from an edge; none if the edge is empty."""
    from scipy import ndimage

    # Without this, the distance transform of an empty edge would measure to the slice's corner.
    if not edge.any():
        return np.zeros_like(edge)
    distances = ndimage.distance_transform_edt(~edge, sampling=spacing)
    return np.asarray(distances <= tolerance * (1 + _ROUNDING))


def boundary_f1(
    truth: UInt8, prediction: UInt8, index: int, tolerance: float, spacing: tuple[float, float]
) -> float:
    """Compute the harmonic mean of the shares of both boundaries that lie near the opposite one.

    Csurka et al., BMVC 2013, doi 10.5244/C.27.32.

    >>> truth = np.zeros((9, 9), np.uint8)
    >>> truth[4] = 1
    >>> boundary_f1(truth, np.roll(truth, 1, axis=0), 1, tolerance=1, spacing=(1, 1))
    1.0

    Args:
        truth: as in `boundary_counts`, with the arguments that follow.
        prediction: (H, W) class indices to score.
        index: of the class.
        tolerance: distance up to which pixels are near, in the unit of `spacing`.
        spacing: distance of rows and of columns, in nm.

    Returns:
        0 to 1; NaN where the truth has no boundary: without the class, or full of it.
    """
    near_true, predicted, near_predicted, true = boundary_counts(
        truth=truth, prediction=prediction, index=index, tolerance=tolerance, spacing=spacing
    )
    return _harmonic_mean(near_true, predicted, near_predicted, true) if true else math.nan


def cl_dice(truth: UInt8, prediction: UInt8, index: int) -> float:
    """Compute the centre-line Dice of one slice (H, W), 0 to 1; NaN if the truth lacks the class.

    The harmonic mean of the shares of both skeletons that lie in the mask of the opposite side
    (Shit et al., CVPR 2021, arXiv 2003.07311).

    >>> truth = np.zeros((9, 9), np.uint8)
    >>> truth[4] = 1
    >>> broken = truth.copy()
    >>> broken[:, 6:] = 0
    >>> round(cl_dice(truth, broken, 1), 3)
    0.8
    """
    from skimage.morphology import skeletonize

    truth_mask, prediction_mask, _ = masks_of(truth, prediction, index)
    if not truth_mask.any():
        return math.nan
    # Lines one pixel wide, so that a gap counts by its length and not by its area.
    predicted_lines: Mask = skeletonize(prediction_mask)  # type: ignore[no-untyped-call]
    true_lines: Mask = skeletonize(truth_mask)  # type: ignore[no-untyped-call]
    return _harmonic_mean(
        int((predicted_lines & truth_mask).sum()),
        int(predicted_lines.sum()),
        int((true_lines & prediction_mask).sum()),
        int(true_lines.sum()),
    )


def _harmonic_mean(first: int, of_first: int, second: int, of_second: int) -> float:
    """Compute the harmonic mean of first / of_first and second / of_second; 0 if one is 0."""
    # Also where a side has nothing, so that no share is 0 / 0.
    if first == 0 or second == 0:
        return 0.0
    precision = first / of_first
    recall = second / of_second
    return 2 * precision * recall / (precision + recall)
