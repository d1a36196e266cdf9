"""Scores of a configuration against scikit-learn, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fibseg.comparison.rows import collapsed_runs, score_rows
from fibseg.runs.finished import read_run
from tests.support.runs import change_scores, dataset_in, make_run

CLASSES = ["background", "a", "b"]


def write_counts(path: Path, counts: list[list[list[int]]]) -> None:
    """Give a run these counts per slice in both splits."""
    slices = [{"volume": 0, "slice": z, "confusion": count} for z, count in enumerate(counts)]

    def change(content: dict[str, Any]) -> None:
        content["classes"] = CLASSES[: len(counts[0])]
        content["splits"] = {"validation": slices, "test": slices}

    change_scores(path, change)


def test_scores_agree_with_scikit_learn(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pairs = [generator.integers(0, 3, (2, 500)) for _ in range(4)]
    without_b = pairs[2][0]
    without_b[without_b == 2] = 0
    path = make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    counts = [np.bincount(t * 3 + p, minlength=9).reshape(3, 3).tolist() for t, p in pairs]
    write_counts(path, counts)
    run = read_run(path)
    expected = {
        name: np.mean(
            [f1_score(t, p, labels=[k], average=None)[0] for t, p in pairs if (t == k).any()]
        )
        for k, name in ((1, "a"), (2, "b"))
    }
    assert run.f1("test") == pytest.approx(expected)
    row_a, row_b = score_rows({"unet-on": [run]}, "test")
    truth = np.concatenate([pair[0] for pair in pairs])
    prediction = np.concatenate([pair[1] for pair in pairs])
    pooled = f1_score(truth, prediction, labels=[1, 2], average=None)
    assert [row_a.pooled_f1, row_b.pooled_f1] == pytest.approx(pooled.tolist())
    assert (row_a.slices, row_b.slices) == (4, 3)
    assert row_b.false_pixels == (pairs[2][1] == 2).sum()
    hits = ((truth == 2) & (prediction == 2)).sum()
    assert row_b.precision == pytest.approx(hits / (prediction == 2).sum())
    assert row_b.iou == pytest.approx(pooled[1] / (2 - pooled[1]))


def test_collapsed_runs_by_validation(tmp_path: Path) -> None:
    for seed, score in enumerate((0.8, 0.82, 0.1, 0.81)):
        make_run(tmp_path, "unet-off", seed, [score], [0.5])
    dataset = dataset_in(tmp_path)
    assert [run.seed for run in collapsed_runs(dataset.runs, "er")] == [2]
    (row,) = dataset.score_rows
    assert row.collapsed_seeds == [2] and len(row.standing_f1) == 3
    assert collapsed_runs([], "er") == []


@pytest.mark.parametrize(
    ("scores", "collapsed"),
    [
        ((0.0, 0.8, 0.02), [0, 2]),
        ((0.1, 0.8, 0.1, 0.1, 0.1, 0.82, 0.1), [0, 2, 3, 4, 6]),
        ((0.3, 0.5), []),
        ((0.2, 0.5), [0]),
        ((0.0, 0.0), []),
    ],
)
def test_runs_that_stand_say_which_collapsed_though_they_are_few(
    scores: tuple[float, ...], collapsed: list[int], tmp_path: Path
) -> None:
    for seed, score in enumerate(scores):
        make_run(tmp_path, "unet-off", seed, [score], [0.5])
    assert [run.seed for run in collapsed_runs(dataset_in(tmp_path).runs, "er")] == collapsed


def test_a_run_that_predicts_nothing_has_no_precision_and_is_in_no_mean_of_it(
    tmp_path: Path,
) -> None:
    """60 hits, 40 misses, 20 false pixels, and 7 or 8 on a slice without the class."""
    predicted = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    write_counts(predicted, [[[880, 20], [40, 60]], [[90, 7], [0, 0]]])
    missed = make_run(tmp_path, "unet-off", 1, [0.5], [0.5])
    write_counts(missed, [[[900, 0], [100, 0]], [[90, 8], [0, 0]]])
    empty = make_run(tmp_path, "unet-off", 2, [0.5], [0.5])
    write_counts(empty, [[[900, 0], [100, 0]], [[90, 0], [0, 0]]])
    runs = [read_run(predicted), read_run(missed), read_run(empty)]
    (row,) = score_rows({"unet-off": runs}, "test")
    assert row.precision == pytest.approx((60 / 87 + 0) / 2)
    assert row.recall == pytest.approx((0.6 + 0 + 0) / 3)
    assert (row.slices, row.false_pixels) == (1, 5)
