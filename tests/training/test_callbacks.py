from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from fibseg.models.checkpoints import save_whole
from fibseg.runs.directory import RunDirectory
from fibseg.training.callbacks import usable_checkpoint
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
        (lambda run: truncate(run.best), None),
        (lambda run: run.best.unlink(), None),
    ],
)
def test_the_newest_whole_checkpoint_is_used(
    tmp_path: Path, damage: Callable[[RunDirectory], object], expected: str | None
) -> None:
    run = RunDirectory(tmp_path)
    run.best.parent.mkdir()
    for path in (run.best, run.last, run.previous):
        save_whole({"epoch": 3}, path)
    damage(run)
    checkpoint = usable_checkpoint(run)
    assert (checkpoint.name if checkpoint else None) == expected
    # The damaged ones are deleted, the others stay.
    assert usable_checkpoint(run) == checkpoint


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
