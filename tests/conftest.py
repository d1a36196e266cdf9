"""Fixtures: one tiny phantom stack for all tests, and the real stacks where the environment names their folder."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side; many threads each would wait for each other

import pytest

from fibseg.phantom import make_phantom
from fibseg.stack import write_stack
from tests.support import SHAPE, Commands


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with image.tif and labels.tif of SHAPE; read only."""
    folder = tmp_path_factory.mktemp("phantom")
    image, labels = make_phantom(SHAPE, seed=0)
    write_stack(folder / "image.tif", image, [20, 5, 5])
    write_stack(folder / "labels.tif", labels, [20, 5, 5])
    return folder


@pytest.fixture(scope="session")
def real_stacks() -> Path:
    """The folder with vnc/ and epfl/, from FIBSEG_STACKS."""
    folder = Path(os.environ.get("FIBSEG_STACKS", ""))
    if not (folder / "vnc" / "raw").is_dir():
        pytest.skip("FIBSEG_STACKS names no folder that holds vnc/raw: real stacks are not tested")
    return folder


@pytest.fixture
def commands(tmp_path: Path, phantom_folder: Path) -> Commands:
    """Fresh folder, no run yet."""
    return Commands(tmp_path, phantom_folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Commands:
    """A folder with one finished run of the tiny recipe, with the filter; read only."""
    commands = Commands(tmp_path_factory.mktemp("finished"), phantom_folder)
    result = commands.train("filter=on", "filter.areas=[20,200]")
    assert result.returncode == 0, result.stderr
    return commands
