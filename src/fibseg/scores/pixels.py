"""Confusion counts of a slice and the F1 scores that follow from them; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_counts(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> Counts:
    """Pixels by class: (K, K), rows truth, columns prediction; pixels that are IGNORE on either side count nowhere.

    >>> confusion_counts(np.array([0, 1, 1, 255], np.uint8), np.array([0, 1, 0, 1], np.uint8), 2).tolist()
    [[1, 0], [1, 1]]
    """
    known = (truth != IGNORE) & (prediction != IGNORE)
    pairs = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def f1_scores(confusion: Counts) -> Floats:
    """F1 = 2 TP / (2 TP + FP + FN) per class: (..., K, K) counts -> (..., K).

    NaN where the truth has no pixel of the class: such a slice says nothing about finding it and is left out of means
    (the paper's code scores it 0). False positives there are still in the counts, and in the pooled F1.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    truth, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return np.where(truth > 0, 2 * hits / np.maximum(truth + predicted, 1), np.nan)


def mean_f1(confusions: Counts) -> Floats:
    """Mean over slices of the per-slice F1: (S, K, K) -> (K,); NaN for a class that occurs in no slice.

    This is the score of Meyer et al., ISBI 2021, section 3.2.
    """
    scores = f1_scores(confusions)
    present = ~np.isnan(scores)
    total = np.where(present, scores, 0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)


def slices_with_class(confusions: Counts) -> Counts:
    """Number of slices (K,) whose truth holds the class: those that `mean_f1` averages."""
    return np.asarray((confusions.sum(axis=-1) > 0).sum(axis=0), np.int64)
