"""scores.json and metrics.csv: written, read back, and damaged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fibseg.arrays import Place
from fibseg.errors import DivergedError, FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import (
    RunScores,
    mean_validation_f1,
    read_metrics,
    read_scores,
    write_scores,
)
from fibseg.scores.instances import score_objects
from fibseg.scores.slices import SplitScore

SCORE = SplitScore([{"volume": 1, "slice": 4, "confusion": [[5, 1], [2, 3]]}], [[]])


@pytest.fixture
def scored(tmp_path: Path) -> RunDirectory:
    """A run with one validation slice and no test slice."""
    run = RunDirectory(tmp_path)
    scores = {"validation": SCORE, "test": SplitScore([], [])}
    write_scores(run, {"seed": 0}, ["background", "a"], scores)
    return run


def test_scores_are_read_back(scored: RunDirectory) -> None:
    scores = read_scores(scored)
    assert scores.facts == {"seed": 0}
    assert scores.class_names == ["background", "a"]
    assert scores.places == {"validation": [(1, 4)], "test": []}
    np.testing.assert_array_equal(scores.confusions["validation"], [[[5, 1], [2, 3]]])
    assert scores.confusions["test"].shape == (0, 2, 2)
    # 3 hits, 1 false positive, 2 misses.
    assert scores.f1("validation") == {"a": pytest.approx(6 / 9)}
    assert math.isnan(scores.f1("test")["a"])
    assert mean_validation_f1(scored) == pytest.approx(6 / 9)


@pytest.fixture
def with_objects(tmp_path: Path) -> RunDirectory:
    """A run with the objects of one validation slice and two test slices."""
    run = RunDirectory(tmp_path)
    ids = [np.array([[1, 1, 0, 2]]), np.array([[0, 1, 0, 2]])]
    places = [Place(1, 4), Place(1, 5)]
    test = score_objects(places, {"a": ids}, {"a": ids[::-1]})
    validation = score_objects(places[:1], {"a": ids[:1]}, {"a": ids[:1]})
    scores = {
        "validation": SplitScore(SCORE.slices, [[]], validation),
        "test": SplitScore([], [], test),
    }
    write_scores(run, {}, ["background", "a"], scores)
    return run


def test_scores_without_objects_do_not_mention_them(scored: RunDirectory) -> None:
    assert read_scores(scored).objects == {}
    assert "instances" not in scored.scores.read_text()


def test_objects_of_slices_and_stacks_are_kept_as_counts(with_objects: RunDirectory) -> None:
    objects = read_scores(with_objects).objects
    (block,) = objects["test"]["blocks"]
    assert (block["volume"], block["start"], block["stop"]) == (1, 4, 6)
    counts = block["classes"]["a"]
    # Object 1 has 3 pixels, 2 of them in common of 4; object 2 has 2, all in common.
    assert (counts["truth"], counts["predicted"], counts["pixels"]) == (2, 2, 5)
    assert counts["matched"] == [2] + [1] * 9
    assert counts["iou"][0] == 1.5
    first, second = objects["test"]["slices"]
    assert (first["slice"], second["slice"]) == (4, 5)
    assert first["classes"]["a"]["matched"][0] == 2
    assert objects["validation"]["blocks"][0]["classes"]["a"]["matched"] == [2] * 10


@pytest.mark.parametrize(
    ("intact", "damage"),
    [
        ('"truth": 2, ', ""),
        ('"truth": 2', '"truth": 0'),
        ('"split_bits": ', '"split_bits": -1e'),
        ('"split_bits": 0.0', '"split_bits": 1e999'),
        ('{"a": {"truth"', '{"b": {"truth"'),
        ('"matched": [2, ', '"matched": [2, 2, '),
        ('"matched": [2, ', '"matched": [-2, '),
        ('"blocks": ', '"block": '),
    ],
)
def test_damaged_matches_are_named(with_objects: RunDirectory, intact: str, damage: str) -> None:
    text = with_objects.scores.read_text()
    assert intact in text
    with_objects.scores.write_text(text.replace(intact, damage))
    with pytest.raises(FibsegError, match=r"scores\.json: damaged"):
        read_scores(with_objects)


@pytest.mark.parametrize("column", ["train_loss", "val_loss"])
@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_run_that_diverged_has_no_scores(scored: RunDirectory, column: str, loss: str) -> None:
    """Earlier versions wrote scores.json for it."""
    other = "val_loss" if column == "train_loss" else "train_loss"
    scored.metrics.write_text(f"epoch,{column},{other}\n0,1.5,1\n1,{loss},1\n2,1.5,1\n")
    with pytest.raises(DivergedError, match=rf"diverged in epoch 2 .*{loss}.*lower training\."):
        read_scores(scored)


def test_the_start_of_a_run_is_no_epoch(scored: RunDirectory) -> None:
    scored.metrics.write_text("epoch,step,train_loss,val_loss\n-1,0,nan,2\n0,4,1.5,1\n")
    assert read_metrics(scored.metrics) == [
        {"epoch": 0, "step": 4, "train_loss": 1.5, "val_loss": 1}
    ]
    # It has no training loss.
    assert read_scores(scored).facts == {"seed": 0}


def test_classes_that_no_slice_holds_have_no_mean(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    empty = SplitScore([{"volume": 1, "slice": 4, "confusion": [[5, 1], [0, 0]]}], [[]])
    write_scores(run, {}, ["background", "a"], {"validation": empty, "test": empty})
    assert math.isnan(mean_validation_f1(run))


def test_the_mean_over_classes_leaves_out_a_class_that_no_slice_holds() -> None:
    confusion = np.array([[[5, 1, 0], [2, 3, 0], [0, 0, 0]]])
    scores = RunScores({}, ["background", "a", "b"], {"validation": confusion}, {})
    assert np.nanmean(list(scores.f1("validation").values())) == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    ("intact", "damage", "message"),
    [
        ('"schema": 1', '"schema": 2', "schema 2, but this fibseg reads 1"),
        ("[[5, 1], [2, 3]]", "[[5]]", r"damaged .counts of shape \(1, 1\) for 2 classes"),
        ("[[5, 1], [2, 3]]", "[[5, 1], [2]]", "damaged"),
        ("[[5, 1], [2, 3]]", "[[5, 1], [2, -3]]", "damaged .negative counts"),
        ('"slice": 4', '"slice": 1e999', "damaged"),
        ('"volume": 1, ', "", "damaged"),
        ('"run": {"seed": 0}', '"run": 3', "damaged"),
    ],
)
def test_damage_is_named(scored: RunDirectory, intact: str, damage: str, message: str) -> None:
    text = scored.scores.read_text()
    assert intact in text
    scored.scores.write_text(text.replace(intact, damage))
    with pytest.raises(FibsegError, match=message):
        read_scores(scored)


def test_a_file_that_is_cut_off_or_missing(scored: RunDirectory) -> None:
    text = scored.scores.read_text()
    for damage in (text[:40], "[]", ""):
        scored.scores.write_text(damage)
        with pytest.raises(FibsegError, match="damaged"):
            read_scores(scored)
    scored.scores.unlink()
    with pytest.raises(FibsegError, match="not finished"):
        read_scores(scored)


def test_metrics_are_numbers_by_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,val_loss\n0,1.5\n1,nan\n")
    first, second = read_metrics(path)
    assert first == {"epoch": 0, "val_loss": 1.5}
    assert math.isnan(second["val_loss"])
    for damage in ("1", "1,2,3", "1,x"):
        path.write_text(f"epoch,val_loss\n{damage}\n")
        with pytest.raises(ValueError, match=r"row|convert"):
            read_metrics(path)
