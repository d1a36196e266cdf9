"""Scores of lists of slices against scikit-learn, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fibseg.arrays import Place
from fibseg.scores.slices import confusions_of, score_slices, summarise


def test_a_summary_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 3, (3, 12, 15)).astype(np.uint8)
    predictions = rng.integers(0, 3, truths.shape).astype(np.uint8)
    # The last slice does not hold class 2.
    truths[2][truths[2] == 2] = 0
    places = [Place(0, 4), Place(0, 7), Place(1, 0)]
    # Generators: each slice is read once, when it is scored.
    score = score_slices(places, iter(truths), iter(predictions), 3)
    assert [(of_slice["volume"], of_slice["slice"]) for of_slice in score.slices] == places
    summaries = summarise(score, ["background", "a", "b"])
    assert [summary.name for summary in summaries] == ["a", "b"]
    assert [summary.slices for summary in summaries] == [3, 2]
    for index, summary in enumerate(summaries, 1):
        per_slice = [
            f1_score(truth.ravel() == index, prediction.ravel() == index)
            for truth, prediction in zip(truths, predictions, strict=True)
            if (truth == index).any()
        ]
        pooled = f1_score(truths.ravel() == index, predictions.ravel() == index)
        assert summary.f1 == pytest.approx(np.mean(per_slice))
        assert summary.pooled_f1 == pytest.approx(pooled)
        components = [component for of_slice in score.components for component in of_slice]
        true_ones = [
            component
            for component in components
            if (component["class_index"], component["of"]) == (index, "truth")
        ]
        detection = summary.detection
        assert detection["tp"] + detection["fn"] + detection["ud"] == len(true_ones)


def test_no_slice_has_no_score() -> None:
    score = score_slices([], [], [], 2)
    assert confusions_of(score.slices, 2).shape == (0, 2, 2)
    (summary,) = summarise(score, ["background", "a"])
    assert math.isnan(summary.f1)
    assert summary.slices == 0


def test_counts_of_other_classes_are_refused() -> None:
    score = score_slices(
        [Place(0, 0)], [np.zeros((2, 2), np.uint8)] * 1, [np.eye(2, dtype=np.uint8)], 2
    )
    with pytest.raises(ValueError, match=r"counts of shape \(2, 2\) for 3 classes"):
        confusions_of(score.slices, 3)
