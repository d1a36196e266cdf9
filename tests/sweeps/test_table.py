"""What a person sees of a sweep, from run directories made by hand."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fibseg.sweeps.table import ending_table, event_line, group_table, live_table, state_counts
from tests.support.sweep_runs import make_sweep_run


def text_of(table: Table) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def rows_of(table: Table) -> list[list[str]]:
    """Cells of the rows, without titles and frames."""
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text_of(table).splitlines()
        if "│" in line
    ]


def test_the_live_table_shows_runs_at_work_first(tmp_path: Path) -> None:
    """The pace is the mean of 10 and 5 s an epoch, and five epochs are left."""
    runs = [
        make_sweep_run(tmp_path, "x", 0, 0, state="waiting"),
        make_sweep_run(tmp_path, "x", 1, 5, state="running", started=0.0, tries=2),
        make_sweep_run(tmp_path, "x", 2, 10, state="running", started=0.0, tries=1),
        make_sweep_run(tmp_path, "x", 3, 2, state="failed", error="no such file"),
    ]
    rows = [
        ["x", "1", "5/10", "0.5000", "0.250", "38 s", "running, try 2"],
        ["x", "2", "10/10", "0.5000", "0.250", "0 s", "scoring"],
        ["x", "3", "2/10", "0.5000", "0.250", "", "failed"],
        ["x", "0", "0/10", "", "", "", "waiting"],
    ]
    assert rows_of(live_table(runs, 2, 50.0, 4)) == rows
    short = live_table(runs, 2, 50.0, 3)
    assert rows_of(short) == rows[:2] and "and 2 more runs" in text_of(short)


def test_a_long_name_takes_one_line(tmp_path: Path) -> None:
    name = "training.learning_rate=0.001,patches.size=256,model.width=16,filter.areas=[650,3200]"
    runs = [
        make_sweep_run(tmp_path, name, seed, 1, state="running", started=0.0) for seed in (4, 5)
    ]
    table = live_table(runs, 2, 50.0, height=10, width=80)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table)
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    assert len(lines) == 2 and [line.split("│")[2].strip() for line in lines] == ["4", "5"]


def test_the_live_table_without_an_estimate(tmp_path: Path) -> None:
    runs = [
        make_sweep_run(tmp_path, "a", seed, 0, state="running", started=0.0) for seed in range(2)
    ]
    runs[1].directory.log.unlink()
    table = live_table(runs, 2, 5.0, 10)
    assert "0 of 2 runs ended; about ? left" in text_of(table)
    assert [row[-1] for row in rows_of(table)] == ["running", "queued"]


def test_plain_lines_of_a_log_file(tmp_path: Path) -> None:
    runs = [
        make_sweep_run(tmp_path, "x", 0, 10, state="finished", seconds=30.0, tries=1),
        make_sweep_run(tmp_path, "x", 1, 5, state="running", started=0.0, epochs_before=5, tries=2),
        make_sweep_run(tmp_path, "x", 2, 0, state="failed", error="no such file"),
    ]
    assert [event_line(run, runs, 1, 0.0) for run in runs] == [
        "[2/3] finished x-s0, val loss 0.5000, val F1 0.250, 30 s; about 15 s left",
        "[2/3] running x-s1, from epoch 6 (try 2)",
        "[2/3] failed x-s2: no such file; about 15 s left",
    ]


def test_the_ending_names_every_run_and_counts(tmp_path: Path) -> None:
    states = ("finished", "failed", "skipped", "waiting", "resumed")
    runs = [
        make_sweep_run(
            tmp_path, "x", seed, 3, state=state, error="why" if state == "failed" else ""
        )
        for seed, state in enumerate(states)
    ]
    assert state_counts(runs) == "1 finished, 1 resumed, 1 skipped, 1 failed, 1 waiting"
    runs[1].state = "interrupted"
    assert state_counts(runs).endswith("1 skipped, 1 interrupted, 1 waiting")
    rows = rows_of(ending_table(runs))
    assert [row[0] for row in rows] == [f"x-s{seed}" for seed in range(5)]
    assert [row[-1] for row in rows] == ["", "why", "", "", ""]


def test_groups_are_means_over_the_seeds_that_ended(tmp_path: Path) -> None:
    """F1 of er: 2 * 6 / (2 * 6 + 2 + 2) = 0.75 and 2 * 1 / (2 * 1 + 3 + 3) = 0.25.

    Their mean is 0.5, their standard deviation 0.354.
    """
    runs = [
        make_sweep_run(tmp_path, "filter=on", 0, 10, [[90, 2], [2, 6]], state="finished"),
        make_sweep_run(tmp_path, "filter=on", 1, 10, [[93, 3], [3, 1]], state="skipped"),
        make_sweep_run(tmp_path, "filter=on", 2, 4, state="failed"),
        make_sweep_run(tmp_path, "filter=off", 0, 10, [[90, 2], [2, 6]], state="finished"),
    ]
    assert rows_of(group_table(runs)) == [
        ["filter=on", "2", "er", "0.500 (0.354)", "0.500 (0.354)"],
        ["filter=off", "1", "er", "0.750", "0.750"],
    ]
