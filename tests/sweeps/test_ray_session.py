"""The folder and the processes of a Ray end with the sweep; here no Ray is started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibseg.errors import FibsegError
from fibseg.sweeps import ray_session
from fibseg.sweeps.ray_session import FOLDER_PREFIX, MARK_VARIABLE, RaySession, remove_stale
from tests.support.processes import has_ended, start_python
from tests.support.sweeps import wait_until

DRIVER = f"""
import os, subprocess, time
from fibseg.sweeps.ray_session import RaySession
session = RaySession()
# In the place of Ray's processes.
child = subprocess.Popen(
    ["sleep", "600"],
    env=os.environ | {{"{MARK_VARIABLE}": session.mark}},
    stdout=subprocess.DEVNULL,
)
print(session.folder, child.pid, session._watcher.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder with a short path, in which sessions are made."""
    with tempfile.TemporaryDirectory(prefix="fs", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        yield Path(name)


def start_driver() -> tuple[subprocess.Popen[str], Path, int, int]:
    """A process with a session; its folder, its only child, and the watcher."""
    driver = start_python(DRIVER)
    assert driver.stdout is not None
    folder, child, watcher = driver.stdout.readline().split()
    return driver, Path(folder), int(child), int(watcher)


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_session_ends_with_its_driver(place: Path) -> None:
    driver, folder, child, watcher = start_driver()
    assert folder.parent == place and folder.name.startswith(FOLDER_PREFIX)
    (folder / "session_1" / "sockets").mkdir(parents=True)
    driver.kill()
    driver.communicate()
    assert has_ended(child) and has_ended(watcher)
    assert folders(place) == []


def test_the_next_sweep_ends_a_session_whose_watcher_was_killed_too(place: Path) -> None:
    """That of a driver that lives stays, and so does what is not of this machine or user."""
    living, folder_of_living, child_of_living, _ = start_driver()
    dead, folder, child, watcher = start_driver()
    foreign = place / f"{FOLDER_PREFIX}foreign"
    foreign.mkdir()
    (foreign / "driver-another-machine.lock").touch()
    half_removed = place / f"{FOLDER_PREFIX}half"
    half_removed.mkdir()
    os.kill(watcher, signal.SIGKILL)
    assert has_ended(watcher)
    dead.kill()
    dead.communicate()
    assert folder.exists() and not has_ended(child, 0.1)
    remove_stale(place)
    assert has_ended(child)
    assert folders(place) == sorted([folder_of_living.name, foreign.name])
    assert not has_ended(child_of_living, 0.1)
    living.kill()
    living.communicate()
    wait_until(lambda: not folder_of_living.exists(), 10)


def test_a_session_that_is_closed(place: Path) -> None:
    session = RaySession()
    assert folders(place) == [session.folder.name]
    (session.folder / "session_1").mkdir()
    session.close()
    assert folders(place) == []


def test_a_long_path_is_left_for_a_short_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux bears 107 letters in the path of a socket."""
    long = place / ("slurm_jobdir_" + "x" * 60)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    session = RaySession()
    try:
        assert session.folder.parent == Path("/tmp")
        assert folders(long) == []
    finally:
        session.close()


def test_no_place_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "ROOM_BYTES", 10**18)
    with pytest.raises(FibsegError, match=r"set TMPDIR to such a folder\.$"):
        RaySession()
    assert folders(place) == []
