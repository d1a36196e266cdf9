"""The folder and the processes of a Ray that a sweep starts: both end with the sweep, however.

As a program (`python -m fibseg.sweeps.ray_session MARK`) it waits for the end of the sweep that
started it; from its input it reads the folders that it then removes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.errors import FibsegError

MARK_VARIABLE = "FIBSEG_SWEEP"
"""Environment variable by which the processes of one sweep are recognized."""

FOLDER_PREFIX = "fibseg-ray-"
"""Begins the name of the folder of a session, which ends with the session's mark."""

LONGEST_SOCKET = len("session_2026-11-26_00-43-20_734386_4194304/sockets/plasma_store")
"""Letters that Ray adds to the path of a folder, of which a socket bears 107 at most."""

ROOM_BYTES = 250_000_000
"""Room for the object store, which lies in the folder, and for the logs of Ray's processes."""

REMOVE_SECONDS = 20
"""How long the files of processes that have just been killed are removed again."""


class RaySession:
    """A folder for one Ray, and a watcher that ends that Ray once this process has ended.

    Attributes:
        mark: value of MARK_VARIABLE in every process of this Ray.
        folder: where Ray keeps sockets, logs and objects; its path is short.
    """

    def __init__(self) -> None:
        """Make the folder, remove those that killed sweeps have left, and start the watcher.

        Raises:
            FibsegError: no folder of this machine suits Ray.
        """
        # Random, so that a sweep never kills the processes of another one.
        self.mark = secrets.token_hex(4)
        # Before the folder is made, so that no kill leaves it behind. A session of its own: neither
        # Ctrl-C nor a kill of the driver's group reaches it.
        self._watcher = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, self.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != MARK_VARIABLE},
        )
        try:
            self.folder, self._lock = self._make_folder()
        except BaseException:
            self._end_watcher()
            raise

    def close(self) -> None:
        """End what is left of Ray, and remove the folder."""
        # Here too, in case somebody has killed the watcher.
        end_session(self.mark, [self.folder])
        self._lock.release()
        self._end_watcher()

    def _end_watcher(self) -> None:
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):
            self._watcher.stdin.close()
        self._watcher.wait()

    def _make_folder(self) -> tuple[Path, FileLock]:
        """A folder in the first place that suits Ray, with a lock that this process holds."""
        system = [os.environ.get(name) for name in ("RAY_TMPDIR", "XDG_RUNTIME_DIR")]
        # Clusters like to give a TMPDIR with a long name.
        places = [system[0], tempfile.gettempdir(), "/tmp", system[1], "/var/tmp"]
        for place in dict.fromkeys(Path(place) for place in places if place):
            with suppress(OSError):
                remove_stale(place)
                if shutil.disk_usage(place).free < ROOM_BYTES:
                    continue
                folder, lock = self._locked_folder(place)
                if _bears_sockets(folder):
                    return folder, lock
                lock.release()
                shutil.rmtree(folder, ignore_errors=True)
        raise FibsegError(
            f"hydra/launcher=ray: Ray needs a folder with {ROOM_BYTES / 1e9} GB of room and a path "
            "of at most 23 letters, as /tmp; set TMPDIR to such a folder."
        )

    def _locked_folder(self, place: Path) -> tuple[Path, FileLock]:
        """A folder for this user alone; without its lock it never has the name of a session."""
        folder = place / f"{FOLDER_PREFIX}{self.mark}"
        unnamed = place / f".{folder.name}"
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):
            print(unnamed, folder, sep="\n", file=self._watcher.stdin, flush=True)
        unnamed.mkdir(mode=0o700)
        lock = FileLock(unnamed / _lock_name())
        lock.acquire()
        unnamed.rename(folder)
        return folder, lock


def _lock_name() -> str:
    # With the machine: a place may be shared by several, and locks are not seen from all of them.
    return f"driver-{socket.gethostname()}.lock"


def _bears_sockets(folder: Path) -> bool:
    """Whether sockets can be made where Ray makes them: not if paths are long, nor on any disk."""
    path = folder / ("s" * LONGEST_SOCKET)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
    except OSError:
        return False
    path.unlink()
    return True


def remove_stale(place: Path) -> None:
    """End what is left of sweeps of this user and machine whose driver and watcher were killed."""
    for folder in place.glob(f"{FOLDER_PREFIX}*"):
        # Its driver lives, or it vanished in the meantime.
        with suppress(Timeout, OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            names = {path.name for path in folder.glob("driver-*.lock")}
            # Without any, a process was killed while it removed the folder.
            if names - {_lock_name()}:
                continue
            with FileLock(folder / _lock_name(), timeout=0):
                end_session(folder.name.removeprefix(FOLDER_PREFIX), [folder])


def end_session(mark: str, folders: Sequence[Path]) -> None:
    """Kill every process with this mark and remove the folders of its Ray."""
    kill_marked(mark)
    end = time.monotonic() + REMOVE_SECONDS
    # A process that was killed may still write a file into a folder that is being removed.
    while any(folder.exists() for folder in folders) and time.monotonic() < end:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def kill_marked(mark: str) -> None:
    """Kill every process with this mark: Ray leaves some behind if a part of it died."""
    line = f"{MARK_VARIABLE}={mark}".encode()
    # More than one pass, since a process may start another one in the meantime.
    for _ in range(3):
        for environment in list(Path("/proc").glob("[0-9]*/environ")):
            process = int(environment.parent.name)
            try:
                if process != os.getpid() and line in environment.read_bytes().split(b"\0"):
                    os.kill(process, signal.SIGKILL)
            # It ended in the meantime, or belongs to another user.
            except OSError:
                continue


def watch(mark: str) -> None:
    """Wait until the driver has ended, then end its Ray."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The pipe has no other end than the driver's, which the system closes however it ends.
    folders = sys.stdin.read().splitlines()
    end_session(mark, [Path(folder) for folder in folders])


if __name__ == "__main__":
    watch(sys.argv[1])
