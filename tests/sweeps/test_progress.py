"""How far runs are, and how long a sweep still takes, from run directories made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibseg.sweeps.progress import estimate_outlook
from tests.support.sweep_runs import begin_line_at, make_sweep_run


def test_the_outlook_follows_the_pace_of_each_group(tmp_path: Path) -> None:
    """`a` takes 2 s an epoch, `b` 6 s: it began at epoch 5 of 10, 12 s ago; `c` their mean, 4 s."""
    runs = [
        make_sweep_run(tmp_path, "a", 0, 10, state="finished", seconds=20.0, tries=1),
        make_sweep_run(tmp_path, "a", 1, 4, state="waiting"),
        make_sweep_run(tmp_path, "b", 0, 7, state="running", started=88.0, epochs_before=5),
        make_sweep_run(tmp_path, "c", 0, 0, state="waiting"),
        make_sweep_run(tmp_path, "c", 1, 10, state="skipped"),
    ]
    outlook = estimate_outlook(runs, 2, 100.0)
    assert outlook.ended == 2
    seconds_by_name = {Path(key).name: value for key, value in outlook.seconds_by_run.items()}
    assert seconds_by_name == pytest.approx({"a-s1": 12.0, "b-s0": 18.0, "c-s0": 40.0})
    # 70 / 2 is less than the longest run takes.
    assert outlook.seconds == pytest.approx(40.0)
    assert estimate_outlook(runs, 1, 100.0).seconds == pytest.approx(70.0)


def test_without_a_pace_there_is_no_estimate(tmp_path: Path) -> None:
    runs = [
        make_sweep_run(tmp_path, "a", seed, 0, state="running", started=0.0) for seed in range(2)
    ]
    assert estimate_outlook(runs, 2, 5.0).seconds is None
    ended = [make_sweep_run(tmp_path, "b", 0, 10, state="failed")]
    assert estimate_outlook(ended, 2, 5.0).seconds == 0


def test_time_in_a_queue_is_no_part_of_the_pace(tmp_path: Path) -> None:
    """Started at 0, it got its slot at 1000; 5 epochs until 1010 leave 5 more of 2 s."""
    run = make_sweep_run(tmp_path, "x", 0, 5, state="running", started=0.0, tries=1)
    run.directory.log.unlink()
    assert run.began_at() is None
    assert estimate_outlook([run], 1, 1010.0).seconds is None
    run.directory.log.write_text(f"waiting for a slot\n{begin_line_at(1000)}epoch 1/10\n")
    assert run.began_at() == 1000.0
    assert estimate_outlook([run], 1, 1010.0).seconds == pytest.approx(5 * 10 / 5)
    # The next attempt, which the log does not hold yet.
    run.started = 1500.0
    run.attempts_before = run.attempts()
    assert run.began_at() is None


def test_a_queue_is_as_fast_as_the_jobs_it_lets_run(tmp_path: Path) -> None:
    """Of 256 jobs that may run, one does: 5 epochs of 2 s are left of it, and 10 of the queued."""
    runs = [
        make_sweep_run(tmp_path, "x", seed, 5 * (1 - seed), state="running", started=1000.0)
        for seed in range(2)
    ]
    runs[1].directory.log.unlink()
    assert estimate_outlook(runs, 256, 1010.0).seconds == pytest.approx(15 * 2.0)


def test_a_half_written_metrics_file_holds_no_epoch(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path, "x", 0, 0)
    run.directory.metrics.write_text("epoch,step\n0,x\n")
    assert (run.last_metrics(), run.epochs_done()) == ({}, 0)


def test_a_score_is_read_from_whole_files_only(tmp_path: Path) -> None:
    """F1 of er: 2 * 6 / (2 * 6 + 2 + 2) = 0.75."""
    run = make_sweep_run(tmp_path, "x", 0, 10, [[90, 2], [2, 6]])
    assert run.score() == pytest.approx(0.75)
    run.directory.scores.write_text("{")
    assert run.score() is None
    run.directory.scores.unlink()
    assert run.score() is None


def test_a_run_is_free_until_a_process_enters_it(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path, "x", 0, 0)
    assert run.is_free()
    with run.directory.lock():
        assert not run.is_free()
    assert run.is_free()
