"""Scores of a configuration against scikit-learn, and by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.rows import TIDY_COLUMNS, collapsed_runs, score_rows, tidy_csv
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


def tidy_value(rows: list[dict[str, str]], run: str, *key: str) -> float:
    """The value of volume, slice, class and metric; NaN for an empty one."""
    names = ("volume", "slice", "class", "metric")
    (row,) = [row for row in rows if row["run"] == run and tuple(row[n] for n in names) == key]
    return float(row["value"] or "nan")


def scores_of(hits: float, truth: float, predicted: float) -> dict[str, float]:
    """By the textbook's formulas."""
    return {
        "f1": 2 * hits / (truth + predicted),
        "precision": hits / predicted,
        "recall": hits / truth,
        "iou": hits / (truth + predicted - hits),
        "false_negatives": truth - hits,
    }


def test_tidy_scores_follow_from_scores_json(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    paths = [make_run(tmp_path, "unet-on", seed, [0.5], [0.5]) for seed in range(2)]
    for path in paths:
        write_counts(path, generator.integers(1, 100, (4, 3, 3)).tolist())
    dataset = Dataset([read_run(path) for path in paths])
    rows = list(csv.DictReader(io.StringIO(tidy_csv(dataset.configurations))))
    # Runs, slices and all of them together, classes, metrics.
    assert len(rows) == 2 * (4 + 1) * 2 * 7 and tuple(rows[0]) == TIDY_COLUMNS
    assert {(row["configuration"], row["seed"], row["fold"]) for row in rows} == {
        ("unet-on", "0", ""),
        ("unet-on", "1", ""),
    }
    for path in paths:
        slices = json.loads((path / "scores.json").read_text())["splits"]["test"]
        confusions = {("0", str(entry["slice"])): np.array(entry["confusion"]) for entry in slices}
        confusions["", ""] = sum(confusions.values(), np.zeros((3, 3)))
        for (volume, z), confusion in confusions.items():
            for k, name in ((1, "a"), (2, "b")):
                sums = confusion[k, k], confusion[k].sum(), confusion[:, k].sum()
                for metric, expected in scores_of(*sums).items():
                    value = tidy_value(rows, path.name, volume, z, name, metric)
                    assert value == pytest.approx(expected)
    for row in dataset.score_rows:
        values = [tidy_value(rows, p.name, "", "", row.class_name, "f1") for p in paths]
        assert np.mean(values) == pytest.approx(row.pooled_f1)


def test_tidy_scores_that_are_no_numbers_are_empty(tmp_path: Path) -> None:
    """The truth lacks b on the first slice, where it is predicted; nobody predicts a."""
    path = make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    write_counts(path, [[[5, 0, 2], [3, 0, 0], [0, 0, 0]], [[5, 0, 0], [3, 0, 0], [0, 0, 4]]])
    rows = list(csv.DictReader(io.StringIO(tidy_csv({"unet-on": [read_run(path)]}))))
    of_slice = {
        metric: [tidy_value(rows, path.name, "0", "0", name, metric) for name in ("a", "b")]
        for metric in ("f1", "precision", "recall", "iou", "false_positives")
    }
    nan = float("nan")
    assert of_slice == {
        "f1": pytest.approx([0, nan], nan_ok=True),
        "precision": pytest.approx([nan, 0], nan_ok=True),
        "recall": pytest.approx([0, nan], nan_ok=True),
        "iou": [0, 0],
        "false_positives": [0, 2],
    }
    assert tidy_value(rows, path.name, "", "", "b", "f1") == pytest.approx(2 * 4 / (4 + 6))


def test_names_in_tidy_scores_are_no_formulas(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-on", 0, [0.5], [0.5], classes=["background", "=er"])
    runs = dataset_in(tmp_path).configurations
    assert ",'=er,f1,0.5\n" in tidy_csv(runs)
