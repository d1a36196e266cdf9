"""What a person sees of a sweep, from run directories made by hand."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from fibseg.runs.directory import RunDirectory
from fibseg.sweeps.table import (
    CLOCK,
    SweepRun,
    counts,
    ending_table,
    event_line,
    group_table,
    live_table,
    outlook,
)


def make_run(
    folder: Path,
    group: str,
    seed: int,
    epochs: int,
    confusion: list[list[int]] | None = None,
    **state: object,
) -> SweepRun:
    """A run of ten epochs with so many done; with counts it is finished."""
    directory = RunDirectory(folder / f"{group}-s{seed}")
    directory.path.mkdir()
    rows = [f"{epoch},{epoch * 4},0.5,0.25\n" for epoch in range(epochs)]
    if state.get("state") == "running":
        directory.log.write_text(begin_line_at(float(str(state["started"]))))
    directory.metrics.write_text("".join(["epoch,step,val_loss,val_f1\n", *rows]))
    if confusion:
        slices = [{"volume": 0, "slice": 1, "confusion": confusion}]
        content = {"schema": 1, "run": {}, "classes": ["background", "er"], "splits": {}}
        content["splits"] = {"validation": slices, "test": slices}
        directory.scores.write_text(json.dumps(content))
    return SweepRun(directory, group, seed, 10, **state)  # type: ignore[arg-type]


def begin_line_at(seconds: float) -> str:
    return f"--- {time.strftime(CLOCK, time.localtime(seconds))}, process 7, cores [0]\n"


def shown(table: Table) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def rows(table: Table) -> list[list[str]]:
    """Cells of the rows, without titles and frames."""
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown(table).splitlines()
        if "│" in line
    ]


def test_the_outlook_follows_the_pace_of_the_own_group(tmp_path: Path) -> None:
    """`a` takes 2 s an epoch, `b` 6 s (it began at epoch 5 of 10, 12 s ago), `c` is unknown: their mean, 4 s."""
    runs = [
        make_run(tmp_path, "a", 0, 10, state="finished", seconds=20.0, tries=1),
        make_run(tmp_path, "a", 1, 4, state="waiting"),
        make_run(tmp_path, "b", 0, 7, state="running", started=88.0, done_before=5, tries=1),
        make_run(tmp_path, "c", 0, 0, state="waiting"),
        make_run(tmp_path, "c", 1, 10, state="skipped"),
    ]
    ahead = outlook(runs, 2, 100.0)
    assert ahead.ended == 2
    left = {Path(path).name: seconds for path, seconds in ahead.left.items()}
    assert left == pytest.approx({"a-s1": 12.0, "b-s0": 18.0, "c-s0": 40.0})
    assert ahead.seconds == pytest.approx(40.0)  # 70 / 2 is less than the longest run takes
    assert outlook(runs, 1, 100.0).seconds == pytest.approx(70.0)


def test_without_a_pace_nothing_is_promised(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "a", seed, 0, state="running", started=0.0) for seed in range(2)]
    assert outlook(runs, 2, 5.0).seconds is None
    assert "0 of 2 runs ended; about ? left" in shown(live_table(runs, 2, 5.0, 10))
    ended = [make_run(tmp_path, "b", 0, 10, state="failed")]
    assert outlook(ended, 2, 5.0).seconds == 0


def test_the_live_table_shows_runs_at_work_first(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "x", 0, 0, state="waiting"),
        make_run(tmp_path, "x", 1, 5, state="running", started=0.0, tries=2),
        make_run(tmp_path, "x", 2, 10, state="running", started=0.0, tries=1),
        make_run(tmp_path, "x", 3, 2, state="failed", error="no such file"),
    ]
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown(live_table(runs, 2, 50.0, 3)).splitlines()
    ]
    assert [row for row in rows if len(row) == 6] == [
        [
            "x seed=1",
            "5/10",
            "0.5000",
            "0.250",
            "38 s",
            "running, try 2",
        ],  # mean of 10 and 5 s an epoch, five left
        ["x seed=2", "10/10", "0.5000", "0.250", "0 s", "scoring"],
        ["x seed=3", "2/10", "0.5000", "0.250", "", "failed"],
    ]


def test_plain_lines_of_a_log_file(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "x", 0, 10, state="finished", seconds=30.0, tries=1),
        make_run(tmp_path, "x", 1, 5, state="running", started=0.0, done_before=5, tries=2),
        make_run(tmp_path, "x", 2, 0, state="failed", error="no such file"),
    ]
    lines = [event_line(run, runs, 1, 0.0) for run in runs]
    assert lines == [
        "[2/3] finished x-s0, val loss 0.5000, val F1 0.250, 30 s; about 15 s left",
        "[2/3] running x-s1, from epoch 6 (try 2)",
        "[2/3] failed x-s2: no such file; about 15 s left",
    ]


def test_the_ending_names_every_run_and_counts(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "x", seed, 3, state=state, error="why" if state == "failed" else "")
        for seed, state in enumerate(("finished", "failed", "skipped", "waiting", "resumed"))
    ]
    assert counts(runs) == "1 finished, 1 resumed, 1 skipped, 1 failed, 1 waiting"
    shown_rows = rows(ending_table(runs))
    assert [row[0] for row in shown_rows] == [f"x-s{seed}" for seed in range(5)]
    assert [row[-1] for row in shown_rows] == ["", "why", "", "", ""]


def test_groups_are_means_over_the_seeds_that_ended(tmp_path: Path) -> None:
    """F1 of er: 2 * 6 / (2 * 6 + 2 + 2) = .75 and 2 * 1 / (2 * 1 + 3 + 3) = .25: mean .5, standard deviation .354."""
    runs = [
        make_run(tmp_path, "filter=on", 0, 10, [[90, 2], [2, 6]], state="finished"),
        make_run(tmp_path, "filter=on", 1, 10, [[93, 3], [3, 1]], state="skipped"),
        make_run(tmp_path, "filter=on", 2, 4, state="failed"),
        make_run(tmp_path, "filter=off", 0, 10, [[90, 2], [2, 6]], state="finished"),
    ]
    assert rows(group_table(runs)) == [
        ["filter=on", "2", "er", "0.500 (0.354)", "0.500 (0.354)"],
        ["filter=off", "1", "er", "0.750", "0.750"],
    ]


def test_a_half_written_metrics_file_is_no_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, "x", 0, 0)
    run.directory.metrics.write_text("epoch,step\n0,x\n")
    assert (run.figures(), run.done()) == ({}, 0)


def test_time_in_a_queue_is_no_part_of_the_pace(tmp_path: Path) -> None:
    """Started at 0, given its place at 1000, as its log says; 5 epochs until 1010 leave 5 more of 2 s."""
    run = make_run(tmp_path, "x", 0, 5, state="running", started=0.0, tries=1)
    run.directory.log.unlink()
    assert run.began() is None
    assert outlook([run], 1, 1010.0).seconds is None
    assert "queued" in shown(live_table([run], 1, 1010.0, 10))
    run.directory.log.write_text(f"waiting for a place\n{begin_line_at(1000)}epoch 1/10\n")
    assert run.began() == 1000.0
    assert outlook([run], 1, 1010.0).seconds == pytest.approx(5 * 10 / 5)
    run.started, run.begins = (
        1500.0,
        run.begun(),
    )  # the next attempt, which the log does not know yet
    assert run.began() is None


def test_a_queue_is_as_fast_as_what_it_lets_run(tmp_path: Path) -> None:
    """256 jobs are allowed, one runs: 5 epochs of 2 s are left of it and 10 of the one in the queue."""
    runs = [
        make_run(tmp_path, "x", seed, 5 * (1 - seed), state="running", started=1000.0)
        for seed in range(2)
    ]
    runs[1].directory.log.unlink()
    assert outlook(runs, 256, 1010.0).seconds == pytest.approx(15 * 2.0)
