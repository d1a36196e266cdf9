"""The driver's decisions, with a pool that ends tasks as a test says: no process, no training."""

from __future__ import annotations

import errno
import io
import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from rich.console import Console

from fibseg import runs
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.sweeps import driver
from fibseg.sweeps.driver import Sweep, trials_text
from fibseg.sweeps.job import Outcome, Task, failed_outcome
from fibseg.sweeps.progress import SweepRun

Ending = Outcome | str | Callable[[], Outcome | str]

TAKEN = Outcome(JobReturn(status=JobStatus.FAILED), taken=True)


def completed(score: float = 0.5, **facts: Any) -> Outcome:
    return Outcome(JobReturn(status=JobStatus.COMPLETED, _return_value=score), **facts)


class ScriptedPool:
    """Ends each attempt of a run at once, by the next entry of its script."""

    retries = 2
    where = "nowhere"

    def __init__(self, scripts: Sequence[Sequence[Ending]], slots: Sequence[int] = (2,)):
        self.scripts = [deque(script) for script in scripts]
        self.slot_counts = deque(slots)
        self.started: list[int] = []
        self.running: dict[int, int] = {}
        self.most_running = 0

    def slots(self) -> int:
        """The next count, and in the end the last one for ever."""
        return self.slot_counts.popleft() if len(self.slot_counts) > 1 else self.slot_counts[0]

    def start(self, task: Task) -> int:
        number = len(self.started)
        index: int = task.function  # type: ignore[assignment]
        self.started.append(index)
        self.running[number] = index
        self.most_running = max(self.most_running, len(self.running))
        return number

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """The first task that was started ends first."""
        if not self.running:
            return {}
        number = min(self.running)
        ending = self.scripts[self.running.pop(number)].popleft()
        return {number: ending() if callable(ending) else ending}

    def close(self) -> None:
        """Nothing is left."""


class DrivenSweep:
    """A sweep over runs in a folder, driven to its end by the scripts of its runs."""

    def __init__(self, folder: Path, *scripts: Sequence[Ending], slots: Sequence[int] = (2,)):
        self.runs = [
            SweepRun(RunDirectory(folder / f"run-s{seed}"), "all", seed, epochs=3)
            for seed in range(len(scripts))
        ]
        self.pool = ScriptedPool(scripts, slots)
        self.results: dict[int, JobReturn] = {}
        self.out = io.StringIO()

    def drive(self) -> None:
        hydra = SimpleNamespace(overrides=SimpleNamespace(task=["some=override"]))
        config = SimpleNamespace(hydra=hydra)
        # The scripted pool needs nothing of a task but its position.
        tasks: Any = [
            SimpleNamespace(function=index, config=config) for index in range(len(self.runs))
        ]
        sweep = Sweep(
            tasks=tasks,
            runs=self.runs,
            results=self.results,
            pool=self.pool,
            console=Console(file=self.out, width=160),
        )
        sweep.drive()

    @property
    def printed(self) -> str:
        return self.out.getvalue()

    def states(self) -> list[str]:
        return [run.state for run in self.runs]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The driver does not sleep; seconds that it would have."""
    slept: list[float] = []
    monkeypatch.setattr(driver.time, "sleep", slept.append)
    return slept


def write_epochs(run: SweepRun, count: int) -> None:
    """metrics.csv as after so many epochs."""
    run.directory.path.mkdir(exist_ok=True)
    rows = [f"{epoch},0.5,0.25\n" for epoch in range(count)]
    run.directory.metrics.write_text("".join(["epoch,val_loss,val_f1\n", *rows]))


def write_scores(run: SweepRun) -> None:
    """scores.json of a finished run whose F1 is 2 * 6 / (2 * 6 + 2 + 2) = 0.75."""
    run.directory.path.mkdir(exist_ok=True)
    slices = [{"volume": 0, "slice": 1, "confusion": [[90, 2], [2, 6]]}]
    splits = {"validation": slices, "test": slices}
    content = {"schema": 1, "run": {}, "classes": ["background", "er"], "splits": splits}
    run.directory.scores.write_text(json.dumps(content))


def test_every_run_is_started_once_and_no_more_than_fit(tmp_path: Path) -> None:
    sweep = DrivenSweep(tmp_path, *([completed(0.1 * seed)] for seed in range(5)), slots=(2,))
    sweep.drive()
    assert sweep.pool.started == [0, 1, 2, 3, 4]
    assert sweep.pool.most_running == 2
    assert sweep.states() == ["finished"] * 5
    assert [sweep.results[seed].return_value for seed in range(5)] == pytest.approx(
        [0.0, 0.1, 0.2, 0.3, 0.4]
    )
    assert "5 finished" in sweep.printed


def test_a_run_that_died_waits_behind_the_others_and_is_resumed(tmp_path: Path) -> None:
    def die_after_an_epoch() -> str:
        write_epochs(sweep.runs[0], 1)
        return "killed"

    sweep = DrivenSweep(
        tmp_path, [die_after_an_epoch, "killed", completed()], [completed()], slots=(1,)
    )
    sweep.drive()
    assert sweep.pool.started == [0, 1, 0, 0]
    assert sweep.states() == ["resumed", "finished"]
    assert sweep.printed.count("run-s0: its process died (killed); it will be started again") == 2
    assert "running run-s0, from epoch 2 (try 3)" in sweep.printed


def test_a_run_that_always_dies_fails_for_good_and_alone(tmp_path: Path) -> None:
    sweep = DrivenSweep(tmp_path, ["killed"] * 3, [completed()])
    sweep.drive()
    assert sweep.states() == ["failed", "finished"]
    directory = sweep.runs[0].directory
    text = "its process died 3 times (killed); killed, or out of memory?"
    assert directory.error.read_text() == f"{text}\n"
    with pytest.raises(FibsegError) as caught:
        sweep.results[0].return_value  # noqa: B018
    assert str(caught.value) == (
        "1 of 2 runs failed, see error.txt in their directories; " + f"{directory.path}: {text}"
    )
    assert sweep.results[0].overrides == ["some=override"]
    assert sweep.results[1].return_value == 0.5


def test_a_full_disk_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runs.directory, "write_whole", full_disk)
    sweep = DrivenSweep(tmp_path, ["killed"] * 3, [completed()])
    sweep.drive()
    assert sweep.states() == ["failed", "finished"]
    assert "its process died 3 times (killed)" in sweep.printed


def test_a_run_that_died_after_its_scores_were_written_is_finished(tmp_path: Path) -> None:
    def die_on_the_way_out() -> str:
        write_scores(sweep.runs[0])
        sweep.runs[0].directory.last.parent.mkdir()
        sweep.runs[0].directory.last.touch()
        return "killed"

    sweep = DrivenSweep(tmp_path, [die_on_the_way_out])
    sweep.drive()
    assert sweep.states() == ["finished"]
    assert sweep.results[0].return_value == pytest.approx(0.75)
    assert not sweep.runs[0].directory.last.exists()


def test_a_run_that_died_before_its_pictures_is_started_again_but_not_for_ever(
    tmp_path: Path,
) -> None:
    def die_drawing() -> str:
        write_scores(sweep.runs[0])
        write_epochs(sweep.runs[0], 1)
        return "out of memory"

    sweep = DrivenSweep(tmp_path, [die_drawing] * 3)
    sweep.drive()
    assert sweep.pool.started == [0, 0, 0]
    assert sweep.results[0].return_value == pytest.approx(0.75)


def test_a_run_that_diverged_is_told_from_others_that_failed(tmp_path: Path) -> None:
    def diverge() -> Outcome:
        sweep.runs[0].directory.path.mkdir()
        sweep.runs[0].directory.metrics.write_text("epoch,train_loss,val_loss\n0,nan,1\n")
        return failed_outcome(FibsegError("diverged in epoch 1."))

    sweep = DrivenSweep(tmp_path, [diverge], [completed()])
    sweep.drive()
    assert sweep.pool.started == [0, 1]
    assert sweep.states() == ["diverged", "finished"]
    assert "diverged run-s0: diverged in epoch 1." in sweep.printed
    assert "1 finished, 1 diverged" in sweep.printed
    with pytest.raises(FibsegError, match=r"^1 of 2 runs failed"):
        sweep.results[0].return_value  # noqa: B018


def test_errors_are_not_tried_again(tmp_path: Path) -> None:
    """The path of a run before the message of its own error is not printed twice."""
    path = tmp_path / "run-s0"
    sweep = DrivenSweep(
        tmp_path,
        [failed_outcome(FibsegError(f"{path}: damaged."))],
        [failed_outcome(FibsegError("patches.size: too large."))],
        [completed()],
    )
    sweep.drive()
    assert sweep.pool.started == [0, 1, 2]
    assert sweep.states() == ["failed", "failed", "finished"]
    assert [run.error for run in sweep.runs] == ["damaged.", "patches.size: too large.", ""]
    with pytest.raises(FibsegError, match=rf"^2 of 3 runs failed, .*; {path}: damaged\.$"):
        sweep.results[0].return_value  # noqa: B018
    assert "1 finished, 2 failed" in sweep.printed


def test_a_run_of_another_process_is_left_alone_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = DrivenSweep(tmp_path, [completed(finished_before=True)])
    lock = sweep.runs[0].directory.lock()
    lock.__enter__()
    started_while_locked: list[int] = []

    def release(_: float) -> None:
        started_while_locked.extend(sweep.pool.started)
        lock.__exit__(None, None, None)

    # The driver pauses while no run is at work.
    monkeypatch.setattr(driver.time, "sleep", release)
    sweep.drive()
    assert started_while_locked == []
    assert sweep.pool.started == [0]
    assert sweep.states() == ["skipped"]
    assert "elsewhere run-s0" in sweep.printed


def test_a_run_taken_by_another_process_in_the_last_moment_counts_no_try(tmp_path: Path) -> None:
    sweep = DrivenSweep(tmp_path, [TAKEN, TAKEN, TAKEN, TAKEN, completed()])
    sweep.drive()
    assert sweep.pool.started == [0] * 5
    assert sweep.states() == ["finished"]
    assert sweep.runs[0].tries == 1


def test_results_that_are_there_already_start_nothing(tmp_path: Path) -> None:
    sweep = DrivenSweep(tmp_path, [], [completed()])
    sweep.runs[0].state = "skipped"
    sweep.results[0] = JobReturn(status=JobStatus.COMPLETED, _return_value=0.75)
    sweep.drive()
    assert sweep.pool.started == [1]
    assert "1 finished, 1 skipped" in sweep.printed


def test_a_cluster_without_a_node_is_waited_for(tmp_path: Path, pauses: list[float]) -> None:
    sweep = DrivenSweep(tmp_path, [completed()], slots=(0, 0, 0, 1))
    sweep.drive()
    assert sweep.states() == ["finished"]
    assert len(pauses) == 2
    assert sweep.printed.count("no GPU or core is available; the sweep waits for one") == 1


def test_an_error_of_the_pool_ends_the_sweep_with_its_table(tmp_path: Path) -> None:
    def stop() -> str:
        raise FibsegError("Ray was stopped.")

    sweep = DrivenSweep(tmp_path, [completed()], [stop], [completed()])
    with pytest.raises(FibsegError, match="Ray was stopped"):
        sweep.drive()
    assert "1 finished, 2 interrupted" in sweep.printed


def test_ctrl_c_says_which_runs_it_interrupted(tmp_path: Path) -> None:
    def interrupt() -> Outcome | str:
        raise KeyboardInterrupt

    sweep = DrivenSweep(tmp_path, [interrupt], [completed()], [completed()])
    with pytest.raises(KeyboardInterrupt):
        sweep.drive()
    assert [run.state for run in sweep.runs] == ["interrupted", "interrupted", "waiting"]
    assert "2 interrupted, 1 waiting" in sweep.printed and "running" in sweep.printed


@pytest.mark.parametrize(
    ("first", "count", "text"), [(0, 4, "trials 1 to 4 of 20"), (4, 1, "trial 5 of 20")]
)
def test_a_search_counts_its_trials(first: int, count: int, text: str) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"n_trials": 20}}})
    assert trials_text(config, first, count) == text
    assert trials_text(OmegaConf.create({"hydra": {"sweeper": {}}}), first, count) == ""
