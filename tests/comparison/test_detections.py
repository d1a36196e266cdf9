"""Counts of components by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fibseg.arrays import Place
from fibseg.comparison.detections import detections, detections_by_area
from fibseg.runs.finished import read_run
from fibseg.scores.components import PAPER_BINS
from tests.support.runs import add_components, make_run


def test_components_of_truth_and_prediction(tmp_path: Path) -> None:
    """Shares .81, .80, .10, .09 of the truth: detected, two between, missed."""
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5], bare=True)
    add_components(
        path,
        ("test", "truth", 100, 81, 1),
        ("test", "truth", 100, 80, 3),
        ("test", "truth", 100, 10, 0),
        ("test", "truth", 100, 9, 1),
        ("test", "truth", 3, 0, 0),
        ("validation", "truth", 100, 100, 1),
        ("test", "prediction", 50, 50, 2),
        ("test", "prediction", 50, 0, 0),
        ("test", "prediction", 50, 20, 1),
    )
    run = read_run(path)
    truth = {"tp": 1, "fn": 2, "ud": 2, "splits": 1}
    predicted = {"fp": 1, "right": 1, "partly": 1, "merges": 1}
    assert detections(run, "test") == {"er": truth | predicted}
    assert detections(run, "test", replace(PAPER_BINS, smallest=4))["er"]["fn"] == 1
    assert detections(run, "test", replace(PAPER_BINS, high=0.7))["er"]["tp"] == 2
    assert detections(run, "test", places=[Place(0, 1)]) == detections(run, "test")
    elsewhere = detections(run, "test", places=[Place(0, 2)])
    assert set(elsewhere["er"].values()) == {0}


def test_components_by_area(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5], bare=True)
    add_components(
        path,
        ("test", "truth", 9, 9, 1),
        ("test", "truth", 10, 0, 0),
        ("test", "truth", 99, 50, 1),
        ("test", "truth", 100, 100, 1),
        ("test", "prediction", 5, 0, 0),
        ("test", "prediction", 200, 200, 1),
    )
    run = read_run(path)
    strata = detections_by_area(run, "test", [100, 10])["er"]
    counts = {
        stratum: (count["tp"], count["fn"], count["ud"], count["fp"])
        for stratum, count in strata.items()
    }
    assert counts == {
        "1 to 9": (1, 0, 0, 1),
        "10 to 99": (0, 1, 1, 0),
        "100 or more": (1, 0, 0, 0),
    }
    from_ten = detections_by_area(run, "test", [10], replace(PAPER_BINS, smallest=10))
    assert list(from_ten["er"]) == ["10 or more"]
