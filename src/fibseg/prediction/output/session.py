"""The processes that label one stack together: who is first, who is last, and their lock."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from filelock import Timeout

from fibseg.errors import FibsegError
from fibseg.files import remove_partials, writing

_PAUSE_SECONDS = 0.1
"""Between two attempts to join while another process prepares the work or ends it."""


class StackSession:
    """A process among those that label one stack; they may come and go.

    The lock of a folder is held by one process alone while it prepares the work or makes the
    outputs, and by all together while they label. A process that dies gives it back.

    Attributes:
        is_first: whether no other process was at work when this one came; it holds the lock alone
            until `share`.
    """

    def __init__(self, folder: Path):
        """Join the processes at work in a folder, which is made; waits for one that prepares.

        Raises:
            FibsegError: the folder cannot be written.
        """
        self._path = folder / ".session.lock"
        with write_errors_named(folder):
            # Of a process that was killed while it removed the folder.
            remove_partials(folder)
            while True:
                folder.mkdir(parents=True, exist_ok=True)
                # The folder goes while this process waits for its lock.
                with suppress(FileNotFoundError):
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
                    if self._takes(fcntl.LOCK_EX):
                        self.is_first = True
                        return
                    if self._takes(fcntl.LOCK_SH):
                        self.is_first = False
                        return
                    os.close(self._descriptor)
                time.sleep(_PAUSE_SECONDS)

    def __enter__(self) -> StackSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def share(self) -> bool:
        """Let other processes in; False where one was so quick that the outputs are made."""
        while not self._takes(fcntl.LOCK_SH):
            # Another process came in between, and prepares what is prepared already.
            if not self._path.exists():
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def is_last(self) -> bool:
        """Whether no other process is at work any more; this one then holds the lock alone."""
        # Given back first: of two processes that end at once, each would wait for the other's.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return self._takes(fcntl.LOCK_EX)

    def _takes(self, kind: int) -> bool:
        """Whether the lock of the file that has the name now could be had."""
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            is_current = os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            is_current = False
        if not is_current:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return is_current


@contextmanager
def write_errors_named(path: Path) -> Iterator[None]:
    """Name a file that cannot be written: on a full disk the system's error names none.

    Raises:
        FibsegError: for any error of the system but a folder that is gone or not to be entered,
            whose error names it, and a lock that is held.
    """
    try:
        with writing(path):
            yield
    # What has a sentence already, and what the caller answers.
    except (FibsegError, FileNotFoundError, PermissionError, Timeout):
        raise
    except OSError as error:
        raise FibsegError(
            f"{path}: cannot be written ({error.strerror or error}); mend the disk and give the "
            "same command again, or give output= another place."
        ) from error
