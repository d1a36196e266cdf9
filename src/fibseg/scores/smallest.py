"""The smallest object of each class: what is labelled smaller than that is nearly always wrong.

A network makes specks, and a speck of a rare class costs much of its F1. Objects are 2-D and
8-connected, as in `fibseg.scores.components`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fibseg.arrays import IGNORE, Floats, UInt8
from fibseg.scores.components import numbered

SIZES = np.array([0, 10, 20, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 2000, 5000])
"""Sizes that are tried, in pixels."""

_ENOUGH = 0.002
"""Mean F1 below the best of all sizes by which a smaller size is taken in its place."""

_QUANTILE = 0.25
"""Of the sizes of annotated objects; no size above it is tried."""

_FEWEST_SLICES = 2
"""Slices with the class, below which nothing is chosen: no slice can be held apart."""


def without_small(labels: UInt8, smallest: Sequence[int]) -> UInt8:
    """Give labels (H, W) whose objects have at least the pixels of their class in `smallest`.

    A pixel of a smaller object takes the class of the nearest pixel that stays. Background is not
    looked at, and labels that have no small object are given back as they are.

    >>> without_small(np.array([[2, 1, 1, 0, 1]], np.uint8), [0, 2, 0])
    array([[2, 1, 1, 0, 0]], dtype=uint8)
    """
    from scipy import ndimage

    small = np.zeros(labels.shape, bool)
    for index, size in enumerate(smallest):
        if index > 0 and size > 1:
            numbers = numbered(labels == index)
            pixels = np.bincount(numbers.ravel())
            pixels[0] = size
            small |= (pixels < size)[numbers]
    if not small.any() or small.all():
        return labels
    cleaned = labels.copy()
    # The nearest pixel that stays touches the group of small objects, so a box of one pixel more
    # holds it: the distances of a whole slice take several times as long.
    for rows, columns in ndimage.find_objects(numbered(small)):
        box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in (rows, columns))
        nearest = ndimage.distance_transform_edt(
            small[box], return_distances=False, return_indices=True
        )
        cleaned[box] = np.where(small[box], labels[box][tuple(nearest)], cleaned[box])
    return cleaned


def best_smallest(labels: Sequence[UInt8], truths: Sequence[UInt8], classes: int) -> list[int]:
    """Choose the smallest object of each class by the mean F1 of slices; 0 for no limit.

    It is the smallest of SIZES that comes within .002 of the best one, if sizes that are chosen
    without a slice gain on that slice, in the mean. None is larger than three of four annotated
    objects.

    Args:
        labels: class indices (H, W) that a model gives each slice.
        truths: annotation (H, W) of each.
        classes: number of classes, background included.
    """
    return [0] + [_best_of_class(labels, truths, index) for index in range(1, classes)]


def _best_of_class(labels: Sequence[UInt8], truths: Sequence[UInt8], index: int) -> int:
    scores = np.stack(
        [_f1_by_size(pixels, truth, index) for pixels, truth in zip(labels, truths, strict=True)]
    )
    scores = scores[~np.isnan(scores[:, 0])]
    if len(scores) < _FEWEST_SLICES:
        return 0
    areas = np.concatenate([np.bincount(numbered(t == index).ravel())[1:] for t in truths])
    possible = max(1, int((np.quantile(areas, _QUANTILE) >= SIZES).sum()))
    scores = scores[:, :possible]
    gains = [
        scores[held, _best(np.delete(scores, held, axis=0))] - scores[held, 0]
        for held in range(len(scores))
    ]
    return int(SIZES[_best(scores)]) if np.mean(gains) > 0 else 0


def _best(scores: Floats) -> int:
    """Find the first column of (slices, sizes) whose mean is nearly the largest."""
    means = scores.mean(axis=0)
    return int(np.flatnonzero(means >= means.max() - _ENOUGH)[0])


def _f1_by_size(labels: UInt8, truth: UInt8, index: int) -> Floats:
    """Compute the F1 of a class for each of SIZES, in annotated pixels; NaN for a missing one."""
    numbers = numbered(labels == index)
    pixels = np.bincount(numbers.ravel())[1:]
    known = np.bincount(numbers[truth != IGNORE], minlength=len(pixels) + 1)[1:]
    right = np.bincount(numbers[truth == index], minlength=len(pixels) + 1)[1:]
    kept = pixels[None, :] >= SIZES[:, None]
    # Pixels of removed objects are of another class then, which this class does not see.
    there = np.count_nonzero(truth == index)
    total = (kept * known).sum(axis=1) + there
    # As in `fibseg.scores.pixels`: a slice without the class has no part in its mean.
    return 2 * (kept * right).sum(axis=1) / total if there else np.full(len(SIZES), np.nan)
