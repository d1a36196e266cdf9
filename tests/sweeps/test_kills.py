"""A run that is interrupted and killed ends as the one that nothing disturbed, bit for bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fibseg.runs.directory import RunDirectory
from tests.support import Commands
from tests.support.sweeps import (
    EPOCHS,
    TRAINING,
    Sweeps,
    assert_same_run,
    temporary_sweeps,
    wait_until_ended,
)
from tests.support.tracking import read_wandb

pytestmark = pytest.mark.slow


def other_file_system() -> str:
    """A temporary folder there shows a checkpoint that is not staged beside its final place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"


def test_ctrl_c_and_kills_of_a_run(commands: Commands, undisturbed: Sweeps) -> None:
    with temporary_sweeps(commands, other_file_system()) as sweeps:
        command = (*TRAINING, "seed=5", "logger=[wandb]")
        interrupt(sweeps, command)
        kill_twice(sweeps, command)
        directory = sweeps.directory(5)
        assert len(sweeps.attempts(5)) == 4
        assert "1 resumed" in sweeps.printed
        assert_same_run(directory, undisturbed.directory(5), "wandb")
        steps = read_wandb(directory)["history"]
        epochs = sorted(step for step, row in steps.items() if "val_loss" in row)
        assert epochs == list(range(EPOCHS))


def interrupt(sweeps: Sweeps, command: tuple[str, ...]) -> None:
    """Ctrl-C leaves no process, and a run that can be resumed."""
    sweeps.disturb(5, ("hold", 3))
    driver = sweeps.start(*command)
    worker = sweeps.wait_until_held(5)
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert errors == "interrupted; the same command goes on where it stopped.\n"
    wait_until_ended([worker])
    directory = RunDirectory(sweeps.directory(5))
    assert directory.last.exists() or directory.previous.exists()
    assert directory.is_free()


def kill_twice(sweeps: Sweeps, command: tuple[str, ...]) -> None:
    """By SIGKILL in the middle of writing a checkpoint, then by SIGTERM."""
    sweeps.disturb(5, ("kill", 4), ("hold", 2), ("nothing", 0))
    driver = sweeps.start(*command)
    worker = sweeps.wait_until_held(5)
    os.kill(worker, signal.SIGTERM)
    sweeps.release(worker)
    _, errors = driver.communicate(timeout=300)
    assert (driver.returncode, errors) == (0, "")
    assert sweeps.printed.count("its process died (") == 2
