"""Each command once as a user starts it, in its own process; other tests call it inside theirs.

The commands train, predict, new, check and compare are started by the tests of the wheel.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from tests.support import PROJECT, TINY, Commands

pytestmark = pytest.mark.slow(seconds=3)
IMAGE = "image.tif"
LABELS = "labels.tif"
LINES = {
    "import": (f"{LABELS} imported.tif --class m=1 --class n=2 --class er=3", "imported.tif"),
    "score": (f"{LABELS} {LABELS} --data tiny.yaml", ""),
    "measure": (f"{LABELS} --output objects.csv", "objects.csv"),
    "filter": (f"{IMAGE} filtered.tif --area 20", "filtered.tif"),
    "figure": (f"filter {IMAGE} --crop 0,0,0 --side 64 --area 20 --output figure", "figure.pdf"),
}
"""Arguments of a command, and a file that it writes."""


@pytest.fixture
def folder(phantom_folder: Path, tmp_path: Path) -> Path:
    """A folder with the tiny image, its labels and its description."""
    for name in (IMAGE, LABELS):
        (tmp_path / name).symlink_to(phantom_folder / name)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.mark.parametrize("name", LINES)
def test_a_command_does_in_its_process_what_it_does_in_this_one(
    name: str, finished: Commands, folder: Path
) -> None:
    line, output = LINES[name]
    inside = finished.run("fibseg", name, *line.split(), cwd=folder)
    assert inside.returncode == 0, inside.stderr
    if output:
        (folder / output).unlink()
    real = finished.run_process("fibseg", name, *line.split(), cwd=folder)
    assert (real.returncode, real.stderr, real.stdout) == (0, inside.stderr, inside.stdout)
    assert (folder / output).exists()


@pytest.mark.parametrize("policy", [None, "active"])
def test_threads_of_torch_do_not_spin_for_long_while_they_wait(policy: str | None) -> None:
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    environment = kept if policy is None else kept | {"OMP_WAIT_POLICY": policy}
    program = (
        "import fibseg, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed == ("1000 False\n" if policy is None else "None False\n")


def test_exactness_and_its_refusal(finished: Commands) -> None:
    run = finished.run_directory()
    real = finished.run_process("fibseg", "exactness", run)
    assert real.returncode == 0, real.stderr
    refused = finished.run("fibseg", "exactness", run / "config.yaml")
    finished.refused(refused, "config.yaml")


@pytest.mark.parametrize("program", ["train.py", "predict.py"])
def test_programs_of_a_clone(program: str, finished: Commands) -> None:
    result = finished.run_process(program, "seeed=3", cwd=PROJECT)
    assert finished.refused(result, "seeed", "no such key")


def test_a_program_inside_this_process_leaves_nothing_behind(commands: Commands) -> None:
    def state() -> list[object]:
        loggers = ("", "pytorch_lightning", "hydra", "wandb")
        return [
            Path.cwd(),
            dict(os.environ),
            sys.argv,
            list(warnings.filters),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            [
                (logging.getLogger(name).level, *logging.getLogger(name).handlers)
                for name in loggers
            ],
            torch.get_num_threads(),
            GlobalHydra.instance().is_initialized(),
        ]

    before = state()
    assert commands.train("training.epochs=1", "machine.threads=2").returncode == 0
    assert state() == before
    assert not GlobalHydra.instance().is_initialized()
