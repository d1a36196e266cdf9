"""Confusion counts of a slice and the F1 scores that follow from them; needs NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fibseg.arrays import IGNORE, Floats, Ints, UInt8


def confusion_counts(truth: UInt8, prediction: UInt8, classes: int) -> Ints:
    """Count pixels by class: (K, K), rows truth, columns prediction.

    Pixels that are IGNORE on either side count nowhere.

    >>> truth = np.array([0, 1, 1, 255], np.uint8)
    >>> prediction = np.array([0, 1, 0, 1], np.uint8)
    >>> confusion_counts(truth, prediction, 2).tolist()
    [[1, 0], [1, 1]]
    """
    known = (truth != IGNORE) & (prediction != IGNORE)
    # A pair of classes is one number in base K, so that one pass of bincount counts all pairs.
    # The cast comes first: in uint8, truth * K would overflow from 16 classes on.
    pairs = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def f1_scores(confusion: Ints) -> Floats:
    """Compute F1 = 2 TP / (2 TP + FP + FN) per class: (..., K, K) counts -> (..., K).

    NaN where the truth has no pixel of the class: such a slice says nothing about finding it and is
    left out of means (the paper's code scores it 0). False positives there are still in the counts,
    and in the pooled F1.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    truth = confusion.sum(axis=-1)
    predicted = confusion.sum(axis=-2)
    # TP + FN are the pixels of the truth and TP + FP those of the prediction: their sum is the
    # denominator. The maximum only avoids a division by 0 where NaN is the result anyway.
    return np.where(truth > 0, 2 * hits / np.maximum(truth + predicted, 1), np.nan)


def class_counts(confusions: Ints) -> Ints:
    """Count true positives, false positives and false negatives: (..., K, K) -> (..., K, 3).

    >>> class_counts(np.array([[5, 1], [2, 3]]))[1].tolist()
    [3, 1, 2]
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    predicted = confusions.sum(axis=-2)
    truth = confusions.sum(axis=-1)
    return np.asarray(np.stack([hits, predicted - hits, truth - hits], axis=-1), np.int64)


def mean_f1(confusions: Ints) -> Floats:
    """Average the per-slice F1 over slices: (S, K, K) counts -> (K,).

    NaN for a class that occurs in no slice. This is the score of Meyer et al., ISBI 2021,
    section 3.2.
    """
    scores = f1_scores(confusions)
    # NaN marks slices without the class, which have no part in its mean.
    present = ~np.isnan(scores)
    # np.nanmean would warn about a class without a slice.
    total = np.where(present, scores, 0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)


def f1_by_class(confusions: Ints, class_names: Sequence[str]) -> dict[str, float]:
    """Give `mean_f1` of each foreground class by its name; the first name is the background's.

    >>> f1_by_class(np.array([[[5, 0], [2, 1]], [[6, 0], [0, 2]]]), ["background", "er"])
    {'er': 0.75}
    """
    return dict(zip(class_names[1:], mean_f1(confusions)[1:].tolist(), strict=True))


def slices_with_class(confusions: Ints) -> Ints:
    """Count the slices (K,) whose truth holds the class: those that `mean_f1` averages."""
    return np.asarray((confusions.sum(axis=-1) > 0).sum(axis=0), np.int64)
