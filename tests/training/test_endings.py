"""Trainings that diverge, that start from another run, and that end without room for pictures."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fibseg.pages import figures
from fibseg.runs.directory import RunDirectory
from fibseg.stack import open_stack
from tests.support import Commands
from tests.support.trainings import best_weights

pytestmark = pytest.mark.slow(seconds=2)
DIVERGING = "training.learning_rate=1e12"


def rows_of_metrics(run: Path) -> list[dict[str, float]]:
    """Every row, that of a start too."""
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_training_that_diverges_says_so_once_and_again(commands: Commands) -> None:
    sentence = "diverged in epoch 1 (train loss nan, val loss nan)"
    commands.refused(commands.train(DIVERGING), sentence, "lower training.learning_rate")
    run = RunDirectory(commands.run_directory())
    assert not run.scores.exists()
    assert run.model() is None
    assert sentence in run.error.read_text()
    metrics = run.metrics.stat().st_mtime_ns
    again = commands.train(DIVERGING)
    commands.refused(again, sentence)
    # It was not trained a second time.
    assert "epoch 1/3" not in again.stdout
    assert run.metrics.stat().st_mtime_ns == metrics


@pytest.mark.parametrize(("rate", "wins"), [("0.5", True), ("1e-4", False)])
def test_the_start_is_scored_and_may_win(
    finished: Commands, commands: Commands, rate: str, wins: bool
) -> None:
    """A rate of .5 undoes what the start has learned; with a small one the loss goes on falling."""
    source = finished.run_directory()
    result = commands.train(
        "filter=on",
        "filter.areas=[20,200]",
        "experiment=finetune",
        "size=paper",
        "patches.size=32",
        f"init_from={source}",
        f"training.learning_rate={rate}",
        "training.schedule=constant",
        "training.epochs=2",
        "seed=4",
        # Filtered already, so that no worker starts.
        f"machine.cache={finished.folder / 'cache'}",
    )
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    start, *epochs = rows_of_metrics(run)
    assert (start["epoch"], start["step"]) == (-1, 0)
    assert math.isnan(start["train_loss"])
    # The weights are those of the source's last epoch, and so are the validation patches; this
    # recipe adds a cross-entropy to the loss.
    last = rows_of_metrics(source)[-1]
    assert start["val_f1"] == pytest.approx(last["val_f1"], abs=1e-5)
    assert [row["epoch"] for row in epochs] == [0, 1]
    assert f"epoch 0/2  the start: val loss {start['val_loss']:.4f}" in result.stdout
    assert (min(row["val_loss"] for row in epochs) > start["val_loss"]) == wins
    assert ("no epoch was better than the start" in result.stdout) == wins
    weights = best_weights(run)
    same = all(torch.equal(value, weights[name]) for name, value in best_weights(source).items())
    assert same == wins


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_pictures_that_cannot_be_written_cost_no_run(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are drawn by the same command once there is room."""
    arguments = ("training.epochs=1",)
    with monkeypatch.context() as patch:
        for place in (
            "fibseg.pages.figures.save_panels",
            "fibseg.pages.figures.save_curves",
            "fibseg.training.pictures.write_truth",
        ):
            patch.setattr(place, full_disk)
        result = commands.train(*arguments)
    assert result.returncode == 0, result.stderr
    for what in ("scored slices", "validation slices", "test slices", "curves"):
        assert sum(what in line for line in result.stdout.splitlines() if "warning: no" in line)
    run = RunDirectory(commands.run_directory())
    scores = run.scores.read_bytes()
    assert json.loads(scores)["splits"]["test"]
    assert not run.figures.exists()
    again = commands.train(*arguments)
    assert again.returncode == 0, again.stderr
    assert "finished already" in again.stdout
    assert sorted(path.name for path in run.figures.iterdir()) == [
        "curves.png",
        "test.png",
        "validation.png",
    ]
    assert (run.path.parent / "truth").is_dir()
    assert run.scores.read_bytes() == scores
    # One that lacks nothing is left as it is.
    drawn = run.picture("test").stat().st_mtime_ns
    assert commands.train(*arguments).returncode == 0
    assert run.picture("test").stat().st_mtime_ns == drawn


def test_the_scores_are_written_before_the_pictures(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(path: Path, *_: Any, **__: Any) -> None:
        run = RunDirectory(path.parents[1])
        seen.append(run.scores.exists() and not run.last.exists())

    monkeypatch.setattr(figures, "save_panels", look)
    assert commands.train("training.epochs=1").returncode == 0
    assert seen == [True, True]


@pytest.mark.parametrize(
    ("fails", "named"),
    [
        ("metrics.csv", "metrics.csv"),
        ("model.safetensors", "checkpoints/model.safetensors"),
        ("test.tif", "labels/test.tif"),
        ("config.yaml", "config.yaml"),
        ("scores.json", "scores.json"),
    ],
)
def test_a_full_disk_names_the_file(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, fails: str, named: str
) -> None:
    """The disk stays full for error.txt too, whose failure does not hide the first one."""
    replace: Callable[..., None] = os.replace
    is_full = False

    def until_full(source: Path, target: Path) -> None:
        nonlocal is_full
        is_full = is_full or Path(target).name == fails
        if is_full:
            full_disk()
        replace(source, target)

    monkeypatch.setattr(os, "replace", until_full)
    result = commands.train("training.epochs=1")
    commands.refused(result, f"{named}: cannot be written: the disk is full", "make room")
    (lock,) = commands.folder.glob("runs/tiny/*/.lock")
    run = RunDirectory(lock.parent)
    assert not run.scores.exists()
    assert f"warning: {run.error}: cannot be written" in result.stdout
    assert not list(run.path.rglob(".*.partial"))


def test_labels_of_a_run_have_the_voxel_size(finished: Commands) -> None:
    for split in ("validation", "test"):
        stack = open_stack(finished.run_directory() / "labels" / f"{split}.tif")
        assert stack.voxel_size == (20, 5, 5)
