"""The smallest object of each class: what is labelled smaller than that is nearly always wrong.

A network makes specks, and a speck of a rare class costs much of its F1. Objects are 2-D and
8-connected, as in `fibseg.scores.components`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE, Floats, Mask, UInt8
from fibseg.compiled import compiled
from fibseg.scores.components import numbered

SIZES = np.array([0, 10, 20, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 2000, 5000])
"""Sizes that are tried, in pixels."""

_ENOUGH = 0.002
"""Mean F1 below the best of all sizes by which a smaller size is taken in its place."""

_QUANTILE = 0.25
"""Of the sizes of annotated objects; no size above it is tried."""

_MANY = 0.5
"""Share of a slice in small objects from which what stays may be far, and a search is slow."""

_FEWEST_SLICES = 2
"""Slices with the class, below which nothing is chosen: no slice can be held apart."""


def without_small(labels: UInt8, smallest: Sequence[int]) -> UInt8:
    """Give labels (H, W) whose objects have at least the pixels of their class in `smallest`.

    A pixel of a smaller object takes the class of the nearest pixel that stays. Background is not
    looked at, and labels that have no small object are given back as they are.

    >>> without_small(np.array([[2, 1, 1, 0, 1]], np.uint8), [0, 2, 0])
    array([[2, 1, 1, 0, 0]], dtype=uint8)
    """
    small = np.zeros(labels.shape, bool)
    for index, size in enumerate(smallest):
        if index > 0 and size > 1:
            numbers = numbered(labels == index)
            pixels = np.bincount(numbers.ravel())
            pixels[0] = size
            small |= (pixels < size)[numbers]
    if not small.any() or small.all():
        return labels
    if small.mean() > _MANY:
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(small, return_distances=False, return_indices=True)
        return np.asarray(labels[tuple(nearest)])
    filled: UInt8 = _filled(labels, small, _nearest_rows(small))
    return filled


@compiled
def _nearest_rows(small: Mask) -> NDArray[np.int32]:
    """Give the row of the nearest pixel that stays in the column of each pixel (H, W).

    It is the upper one of two, and -1 where none stays.
    """
    height, width = small.shape
    rows = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if not small[y, x]:
                rows[y, x] = y
            else:
                rows[y, x] = rows[y - 1, x] if y > 0 else -1
    for y in range(height - 2, -1, -1):
        for x in range(width):
            below = rows[y + 1, x]
            # Of a pixel below, the nearest one may be above this one.
            if below > y and (rows[y, x] < 0 or below - y < y - rows[y, x]):
                rows[y, x] = below
    return rows


@compiled
def _filled(labels: UInt8, small: Mask, rows: NDArray[np.int32]) -> UInt8:
    """Give pixels of small objects the class of the nearest one that stays.

    Of several, it is that of the first column, and there of the first row. That is scipy's choice,
    whose distances of a whole slice take many times as long.
    """
    height, width = small.shape
    filled = labels.copy()
    for y in range(height):
        for x in range(width):
            if not small[y, x]:
                continue
            nearest = np.int64(height) ** 2 + np.int64(width) ** 2
            across = 0
            while across * across <= nearest and across < width:
                left = x - across
                if left >= 0 and rows[y, left] >= 0:
                    distance = across * across + (rows[y, left] - y) ** 2
                    if distance <= nearest:
                        nearest = distance
                        filled[y, x] = labels[rows[y, left], left]
                right = x + across
                if right < width and rows[y, right] >= 0:
                    distance = across * across + (rows[y, right] - y) ** 2
                    if distance < nearest:
                        nearest = distance
                        filled[y, x] = labels[rows[y, right], right]
                across += 1
    return filled


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
