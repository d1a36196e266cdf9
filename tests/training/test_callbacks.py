from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import load_whole, save_arrays, save_whole
from fibseg.runs.directory import RunDirectory
from fibseg.training.callbacks import WholeCheckpointIO, usable_checkpoint
from fibseg.training.progress import FilterProgress


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda _: None, "last.ckpt"),
        (lambda run: truncate(run.last), "previous.ckpt"),
        (lambda run: run.last.unlink(), "previous.ckpt"),
        (lambda run: run.last.write_bytes(b""), "previous.ckpt"),
        (lambda run: (truncate(run.last), truncate(run.previous)), None),
        (lambda run: truncate(run.model_file), None),
        (lambda run: run.model_file.unlink(), None),
    ],
)
def test_the_newest_whole_checkpoint_is_used(
    tmp_path: Path, damage: Callable[[RunDirectory], object], expected: str | None
) -> None:
    run = RunDirectory(tmp_path)
    run.model_file.parent.mkdir()
    save_arrays({}, {"format": 10}, run.model_file)
    for path in (run.last, run.previous):
        save_whole({"epoch": 3}, path)
    damage(run)
    checkpoint = usable_checkpoint(run)
    assert (checkpoint.name if checkpoint else None) == expected
    # The damaged ones are deleted, the others stay.
    assert usable_checkpoint(run) == checkpoint


def test_a_training_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    best = run.older_models[0]
    best.parent.mkdir()
    for path in (best, run.last):
        save_whole({"epoch": 3}, path)
    assert usable_checkpoint(run) == run.last
    # Killed after it wrote a model, and before it removed the older one.
    save_arrays({}, {"format": 10}, run.model_file)
    assert usable_checkpoint(run) == run.last
    assert run.model() == run.model_file
    truncate(run.model_file)
    # The older one is of another epoch than the state.
    assert usable_checkpoint(run) is None
    assert not list(best.parent.iterdir())


def test_a_new_run_has_none(tmp_path: Path) -> None:
    assert usable_checkpoint(RunDirectory(tmp_path)) is None


def test_bar_of_the_filter_goes_when_all_slices_are_done() -> None:
    text = io.StringIO()
    report = FilterProgress(Console(file=text, force_terminal=True, width=80))
    for done in range(1, 4):
        report(done, 3)
    assert "filtering" in text.getvalue()
    assert "3/3" in text.getvalue()
    silent = io.StringIO()
    FilterProgress(Console(file=silent, force_terminal=False))(1, 1)
    assert silent.getvalue() == ""


def test_a_checkpoint_is_of_the_moment_when_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training goes on while a thread writes."""
    may_write = threading.Event()

    def slow(content: dict[str, Any], path: Path) -> None:
        assert may_write.wait(60)
        save_whole(content, path)

    monkeypatch.setattr("fibseg.training.callbacks.save_whole", slow)
    weights = torch.zeros(5)
    checkpoint_io = WholeCheckpointIO()
    checkpoint_io.save_checkpoint({"weights": weights, "epoch": 3}, tmp_path / "last.ckpt")
    weights += 1
    assert not (tmp_path / "last.ckpt").exists()
    may_write.set()
    checkpoint_io.wait()
    kept = load_whole(tmp_path / "last.ckpt")
    assert torch.equal(kept["weights"], torch.zeros(5)) and kept["epoch"] == 3


def test_after_a_model_that_could_not_be_written_no_checkpoint_speaks_of_it(
    tmp_path: Path,
) -> None:
    checkpoint_io = WholeCheckpointIO()

    def keep_model() -> None:
        raise FibsegError("the disk is full")

    checkpoint_io.begin(keep_model)
    checkpoint_io.save_checkpoint({"best_epoch": 2}, tmp_path / "last.ckpt")
    checkpoint_io.save_checkpoint({"best_epoch": 2}, tmp_path / "other.ckpt")
    with pytest.raises(FibsegError, match="the disk is full"):
        checkpoint_io.wait()
    assert list(tmp_path.iterdir()) == []
    checkpoint_io.save_checkpoint({"best_epoch": 1}, tmp_path / "last.ckpt")
    checkpoint_io.wait()
    assert load_whole(tmp_path / "last.ckpt")["best_epoch"] == 1


def test_what_could_not_be_written_is_an_error_of_the_next_epoch(tmp_path: Path) -> None:
    checkpoint_io = WholeCheckpointIO()
    (tmp_path / "file").touch()
    missing = tmp_path / "file" / "last.ckpt"
    checkpoint_io.save_checkpoint({"epoch": 1}, missing)
    with pytest.raises(FibsegError, match=r"last\.ckpt: the checkpoint could not be written"):
        checkpoint_io.wait()
    # An error of the training is not hidden by that of a write.
    checkpoint_io.save_checkpoint({"epoch": 1}, missing)
    checkpoint_io.teardown()
    checkpoint_io.wait()
