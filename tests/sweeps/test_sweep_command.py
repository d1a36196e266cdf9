"""Whole sweeps through the command, trained one after the other in this process."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from fibseg.runs.directory import RunDirectory
from fibseg.sweeps import ray_pool
from fibseg.sweeps.job import Outcome, Task, run_task
from tests.support import Commands
from tests.support.sweeps import SWEEP, TRAINING, Sweeps
from tests.support.trainings import same_weights

pytestmark = pytest.mark.slow(seconds=7)


class SerialPool:
    """In the place of Ray: trains in this process when it is waited for."""

    retries = 0
    where = "one process"

    def __init__(self, **_: Any):
        self.tasks: list[Task] = []

    def slots(self) -> int:
        return 1

    def start(self, task: Task) -> int:
        self.tasks.append(task)
        return len(self.tasks)

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        # The output of a run goes to the log by way of the file descriptors, which are not those of
        # sys.stdout under pytest.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return {len(self.tasks): run_task(self.tasks[-1], nullcontext("here"))}

    def close(self) -> None:
        """Nothing is left."""


@pytest.fixture
def serial(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(ray_pool, "RayPool", SerialPool)
    return commands


def sweep(commands: Commands, *overrides: str) -> subprocess.CompletedProcess[str]:
    return commands.run("train.py", "-m", *commands.recipe, "training.epochs=1", *overrides)


def test_lambda_is_swept_and_each_slice_filtered_once(serial: Commands) -> None:
    """1 % of a patch of 32 x 32 is 10 pixels; eight slices of a split, three areas."""
    command = ("filter=on", "filter.areas=[20],[1%],[20,200]", "machine.processes=1")
    result = sweep(serial, *command)
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 runs, 1 at a time (one process)" in result.stdout
    assert "3 finished" in result.stdout
    for group in ("filter.areas=[20] ", "filter.areas=[1%] ", "filter.areas=[20,200] "):
        assert f"│ {group}" in result.stdout
    names = [path.name for path in serial.folder.glob("runs/tiny/*-s0-*")]
    assert {name.split("-areas_")[1].split("-")[0] for name in names} == {"20", "10", "20x200"}
    assert len(list((serial.folder / "cache").glob("*.npy"))) == 8 * 3


def test_failed_runs_leave_the_others_alone(serial: Commands) -> None:
    """Two have patches that no slice holds. They fail again when the command is repeated."""
    command = ("seed=0", "patches.size=32,4096,8192")
    first = sweep(serial, *command)
    message = serial.refused(first, "2 of 3 runs failed, see error.txt in their directories; ")
    assert "4096" in message
    assert "1 finished, 2 failed" in first.stdout
    for path in serial.folder.glob("runs/tiny/*-s*-*"):
        run = RunDirectory(path)
        has_failed = "size_32" not in path.name
        assert run.error.exists() == has_failed
        assert run.scores.exists() != has_failed
        assert not has_failed or "is larger than a slice" in run.error.read_text()
    again = sweep(serial, *command)
    assert again.returncode == 2
    assert "1 skipped, 2 failed" in again.stdout


def test_the_same_command_again_starts_nothing(
    undisturbed: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only reads the runs."""
    monkeypatch.setattr(ray_pool, "RayPool", SerialPool)
    commands = undisturbed.commands
    runs = [undisturbed.directory(seed) for seed in (5, 6)]
    assert not same_weights(*runs)
    before = modification_times(runs)
    result = commands.run("train.py", "-m", *commands.recipe, *SWEEP)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 skipped" in result.stdout
    assert "running" not in result.stdout
    assert modification_times(runs) == before


def modification_times(runs: list[Path]) -> list[int]:
    return [path.stat().st_mtime_ns for run in runs for path in sorted(run.rglob("*"))]


def test_a_single_run_needs_no_ray(undisturbed: Sweeps) -> None:
    commands = undisturbed.commands
    line = commands.line("train.py", *commands.recipe, *TRAINING, "seed=5")
    script = f"""
import sys
from fibseg.commands.train import main
sys.argv = {line[1:]}
assert main() == 0
assert "hydra_plugins.fibseg_launcher.launchers" in sys.modules
assert not {{"ray", "submitit", "fibseg.sweeps.driver"}} & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
