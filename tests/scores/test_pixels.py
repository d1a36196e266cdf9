"""Confusion counts and F1 scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from fibseg.arrays import IGNORE
from fibseg.scores.pixels import (
    confusion_counts,
    f1_by_class,
    f1_scores,
    mean_f1,
    slices_with_class,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.choice(
    np.array([0, 1, 2, 3, IGNORE], np.uint8), (6, 30, 20), p=[0.4, 0.2, 0.2, 0.1, 0.1]
)
PREDICTION = RNG.integers(0, 4, TRUTH.shape).astype(np.uint8)


def test_counts_and_f1_agree_with_scikit_learn() -> None:
    for truth, prediction in zip(TRUTH, PREDICTION, strict=True):
        known = truth != IGNORE
        counts = confusion_counts(truth, prediction, 4)
        np.testing.assert_array_equal(
            counts, confusion_matrix(truth[known], prediction[known], labels=range(4))
        )
        np.testing.assert_allclose(
            f1_scores(counts), f1_score(truth[known], prediction[known], average=None)
        )


def test_mean_leaves_slices_without_the_class_out_and_pooled_counts_them() -> None:
    truth = TRUTH.copy()
    truth[:4][truth[:4] == 3] = 0
    truth[truth == 2] = 0
    counts = np.stack([confusion_counts(t, p, 4) for t, p in zip(truth, PREDICTION, strict=True)])
    expected = np.mean(
        [
            f1_score(t[t != IGNORE] == 3, p[t != IGNORE] == 3)
            for t, p in zip(truth[4:], PREDICTION[4:], strict=True)
        ]
    )
    scores = mean_f1(counts)
    assert scores[3] == pytest.approx(expected)
    assert np.isnan(scores[2])
    assert slices_with_class(counts).tolist() == [6, 6, 0, 2]
    known = truth != IGNORE
    pooled = f1_scores(counts.sum(axis=0))
    assert pooled[3] == pytest.approx(f1_score(truth[known] == 3, PREDICTION[known] == 3))
    assert pooled[3] < scores[3]


def test_what_the_prediction_ignores_counts_nowhere() -> None:
    """The labels of a second expert may have their own gaps."""
    prediction = PREDICTION[0].copy()
    prediction[:10] = IGNORE
    np.testing.assert_array_equal(
        confusion_counts(TRUTH[0], prediction, 4),
        confusion_counts(TRUTH[0][10:], PREDICTION[0][10:], 4),
    )


def test_nothing_annotated() -> None:
    counts = confusion_counts(np.full((3, 3), IGNORE, np.uint8), np.zeros((3, 3), np.uint8), 2)
    assert not counts.any()
    assert np.isnan(f1_scores(counts)).all()
    assert np.isnan(mean_f1(np.zeros((0, 2, 2), np.int64))).all()


def test_many_classes_do_not_overflow_a_byte() -> None:
    labels = np.arange(200, dtype=np.uint8)
    np.testing.assert_array_equal(confusion_counts(labels, labels, 200), np.eye(200))


def test_scores_by_name_are_those_of_the_foreground() -> None:
    counts = np.array([[[5, 1], [2, 3]]])
    assert f1_by_class(counts, ["background", "er"]) == {"er": pytest.approx(6 / 9)}
