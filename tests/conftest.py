"""Fixtures: a tiny phantom stack, a finished run on it, and real stacks where they are at hand."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Tests run side by side; with many threads each they would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a command takes all cores, its threads sleep while they wait, and others come to work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Ray gives its workers a low priority: beside other tests they would hardly come to work.
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest

from fibseg.phantom import make_phantom
from fibseg.stack import write_stack
from tests.support import SHAPE, Commands
from tests.support.shared import shared_folder

SECONDS_OF_A_SLOW_TEST = 5
"""Where its mark does not say."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first, so that workers side by side end at one time."""
    seconds: Counter[Path] = Counter()
    for item in items:
        slow = item.get_closest_marker("slow")
        seconds[item.path] += slow.kwargs.get("seconds", SECONDS_OF_A_SLOW_TEST) if slow else 0
    # The sort is stable: tests of a file, and files without slow tests, keep their order.
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """Keep what all modules have made out of later collections of garbage, a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Put torch's threads back: with two of them, workers side by side wait for each other."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with image.tif and labels.tif of SHAPE; read only."""

    def make(folder: Path) -> None:
        image, labels = make_phantom(SHAPE, seed=0)
        write_stack(folder / "image.tif", image, [20, 5, 5])
        write_stack(folder / "labels.tif", labels, [20, 5, 5])

    return shared_folder(tmp_path_factory, "phantom", make)


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

    def make(folder: Path) -> None:
        result = Commands(folder, phantom_folder).train("filter=on", "filter.areas=[20,200]")
        assert result.returncode == 0, result.stderr

    return Commands(shared_folder(tmp_path_factory, "finished", make), phantom_folder)
