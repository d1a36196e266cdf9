"""Fixtures: sweeps in their own folder, and one that nothing disturbs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Commands
from tests.support.shared import shared_folder
from tests.support.sweeps import SWEEP, Sweeps, temporary_sweeps


@pytest.fixture
def sweeps(commands: Commands) -> Iterator[Sweeps]:
    """A fresh folder; at the end no process is left."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two runs at a time need two cores")
    with temporary_sweeps(commands) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Iterator[Sweeps]:
    """The runs of SWEEP, trained one after the other by Hydra's own launcher; read only."""

    def make(folder: Path) -> None:
        commands = Commands(folder, phantom_folder)
        overrides = (*SWEEP, "hydra/launcher=basic")
        result = commands.run("train.py", "-m", *commands.recipe, *overrides)
        assert (result.returncode, result.stderr) == (0, "")

    folder = shared_folder(tmp_path_factory, "undisturbed", make)
    with temporary_sweeps(Commands(folder, phantom_folder)) as finished:
        yield finished
