"""Tables of scores, worked out by hand to the last digit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from fibseg.comparison.score_tables import (
    cost_table,
    expert_table,
    mean_and_deviation,
    run_table,
    score_table,
    table_1,
)
from fibseg.runs.collection import best_runs
from fibseg.runs.finished import read_run
from tests.support.runs import add_second_expert, dataset_in, make_run, write_labels


def test_the_papers_digits_are_cut_off() -> None:
    """The mean is .9389, and the deviation of a population .0010."""
    assert mean_and_deviation([0.9379, 0.9399], paper_style=True) == "0.938 ± 0.001"
    assert mean_and_deviation([0.9379, 0.9399], paper_style=False) == "0.939 ± 0.001"
    assert mean_and_deviation([0.29], paper_style=True) == "0.290"
    assert mean_and_deviation([0.5], paper_style=False) == "0.500"
    assert mean_and_deviation([math.nan, 0.5], paper_style=False) == "-"
    assert mean_and_deviation([], paper_style=True) == "-"


def test_the_best_two_thirds_and_all_runs(tmp_path: Path) -> None:
    """15 runs: the ten best by validation have test scores of .80, .81, ... .89, the others .5."""
    for seed in range(10):
        score = round(0.80 + seed / 100, 2)
        make_run(tmp_path, "unet-off", seed, [0.9], [score, score])
    for seed in range(10, 15):
        make_run(tmp_path, "unet-off", seed, [0.6], [0.5, 0.5])
    dataset = dataset_in(tmp_path)
    assert [run.seed for run in best_runs(dataset.runs)] == list(range(10))
    assert [len(best_runs(dataset.runs[:n])) for n in (1, 2, 3, 4, 15)] == [1, 2, 2, 3, 10]
    best = [0.80 + k / 100 for k in range(10)]
    every = [*best, *[0.5] * 5]
    assert table_1(dataset).rows == [
        ["unet-off", "best 10 of 15", f"0.845 ± {np.std(best, ddof=1):.3f}"],
        ["unet-off", "all 15", f"{np.mean(every):.3f} ± {np.std(every, ddof=1):.3f}"],
    ]
    # The deviation is .02872 of a population, and .0303 of a sample.
    assert table_1(dataset, paper_style=True).rows[0][2] == "0.845 ± 0.028"


def test_collapsed_runs_stay_and_are_named(tmp_path: Path) -> None:
    scores = [0.8, 0.82, 0.1, 0.81]
    for seed, score in enumerate(scores):
        make_run(tmp_path, "unet-off", seed, [score], [score])
    dataset = dataset_in(tmp_path)
    _, every, standing = table_1(dataset).rows
    assert every[1:] == ["all 4", mean_and_deviation(scores, paper_style=False)]
    kept = mean_and_deviation([0.8, 0.82, 0.81], paper_style=False)
    assert standing[1:] == ["less collapsed seeds 2", kept]
    assert [row[-2:] for row in run_table(dataset).rows] == [
        ["yes", ""],
        ["yes", ""],
        ["", "er"],
        ["yes", ""],
    ]


def test_unequal_numbers_of_runs_are_noted(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    assert len(table_1(dataset_in(tmp_path)).notes) == 2
    make_run(tmp_path, "unet-on", 1, [0.5], [0.5])
    notes = table_1(dataset_in(tmp_path)).notes
    assert notes[2:] == ["configurations have unequal numbers of runs"]


def test_three_runs_of_two_slices(tmp_path: Path) -> None:
    """F1 of the runs are .85, .87, .75, of which seeds 0 and 1 are best by validation."""
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.80, 0.90), (0.6, 0.82, 0.92), (0.4, 0.70, 0.80))
    ):
        make_run(tmp_path, "unet-off", seed, [validation], [first, second])
    dataset = dataset_in(tmp_path)
    assert table_1(dataset).csv().splitlines() == [
        "configuration,runs,er",
        "unet-off,best 2 of 3,0.860 ± 0.014",
        "unet-off,all 3,0.823 ± 0.064",
    ]
    assert "all 3,0.823 ± 0.052" in table_1(dataset, paper_style=True).csv()
    (pooled,) = csv.DictReader(score_table(dataset).csv().splitlines())
    # Misses are as many as false pixels, and slices are of one size: the pooled F1, precision and
    # recall are the mean .8233. IoU is F / (2 - F): the mean of .739, .770, .600.
    assert {pooled[name] for name in ("pooled F1", "precision", "recall")} == {"0.823"}
    assert pooled["IoU"] == "0.703"


def test_the_second_expert_on_the_same_slices(tmp_path: Path) -> None:
    """8 pixels of er by the first expert, 6 of them and 2 others by the second: F1 .75."""
    first = np.zeros((3, 4, 8), np.uint8)
    first[:, 0] = 1
    second = first[1].copy()
    second[0, :2] = 0
    second[3, :2] = 1
    for seed, f1 in enumerate((0.6, 0.8)):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.1, f1, 0.2])
    assert expert_table(dataset_in(tmp_path)) is None
    write_labels(path, list(first), list(first))
    add_second_expert(tmp_path, {1: second})
    table = expert_table(dataset_in(tmp_path))
    assert table is not None
    runs = mean_and_deviation([0.6, 0.8], paper_style=False)
    assert table.rows == [["second expert", "0.750"], ["unet-off", runs]]
    (tmp_path / "truth" / "d" / "truth.json").write_text("{")
    assert expert_table(dataset_in(tmp_path)) is None


def test_costs_stand_beside_the_scores(tmp_path: Path) -> None:
    facts = {"seconds": 240.0, "device": "cpu", "parameters": 1_234_567}
    make_run(tmp_path, "unet-off", 0, [0.5], [0.8, 0.4], **facts, peak_gib=1.5)
    make_run(tmp_path, "unet-off", 1, [0.5], [0.6, 0.6], **facts | {"device": "cuda"}, peak_gib=2.5)
    # A run of an earlier version says less.
    make_run(tmp_path, "eunet-off", 0, [0.5], [0.5, 0.5])
    table = cost_table(dataset_in(tmp_path))
    # Of equally large classes: IoU = F1 / (2 - F1) of the pooled F1, .6 and .6.
    assert [row[:3] for row in table.rows] == [
        ["eunet-off", "0.500", f"{1 / 3:.3f}"],
        ["unet-off", "0.600", f"{0.6 / 1.4:.3f}"],
    ]
    assert table.rows[0][3:] == ["", "", "", "", "1"]
    assert table.rows[1][3:] == ["240", "various", "1,234,567", "2.50", "2"]


def test_a_class_that_nothing_holds_is_in_no_cost(tmp_path: Path) -> None:
    """Test slices of background alone; one run of three labels some of it."""
    for name, seed, wrong in (("unet-off", 0, 5), ("unet-off", 1, 0), ("eunet-off", 0, 0)):
        path = make_run(tmp_path, name, seed, [0.5], [0.6])
        lines = (path / "components.csv").read_text().splitlines()
        kept = [line for line in lines if not line.startswith("test,")]
        kept += [f"test,0,0,er,prediction,{wrong},0,0,0,1"] * bool(wrong)
        (path / "components.csv").write_text("\n".join(kept) + "\n")
        content = json.loads((path / "scores.json").read_text())
        for entry in content["splits"]["test"]:
            entry["confusion"] = [[100 - wrong, wrong], [0, 0]]
        (path / "scores.json").write_text(json.dumps(content))
    rows = {row[0]: row for row in cost_table(dataset_in(tmp_path)).rows}
    assert rows["eunet-off"][1:3] == ["-", "-"]
    assert rows["unet-off"][1:3] == ["-", "0.000"]
    assert [row[3] for row in run_table(dataset_in(tmp_path)).rows] == ["-"] * 3


def test_foreground_iou_is_that_of_scikit_learn(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 500)
    labels = np.where(generator.random(500) < 0.7, truth, generator.integers(0, 3, 500))
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5], classes=["background", "er", "golgi"])
    content = json.loads((path / "scores.json").read_text())
    halves = [slice(0, 200), slice(200, 500)]
    counts = [confusion_matrix(truth[half], labels[half]).tolist() for half in halves]
    for split in ("validation", "test"):
        content["splits"][split] = [
            {"volume": 0, "slice": z, "confusion": confusion} for z, confusion in enumerate(counts)
        ]
    (path / "scores.json").write_text(json.dumps(content))
    expected = jaccard_score(truth, labels, labels=[1, 2], average="macro")
    assert read_run(path).mean_iou("test") == pytest.approx(expected)
