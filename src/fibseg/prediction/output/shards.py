"""Parts of a stack for several processes, and the locks that keep them apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.errors import FibsegError


@dataclass(frozen=True)
class Shard:
    """A part of the slices of a stack.

    Attributes:
        number: which part, from 0.
        count: how many parts there are.
    """

    number: int
    count: int

    def positions(self, depth: int) -> list[int]:
        """List the slices of this part of a stack; all parts together hold each slice once."""
        # Whole numbers: parts of nearly one size that meet without a gap.
        first = self.number * depth // self.count
        return list(range(first, (self.number + 1) * depth // self.count))


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock; by default wait for it.

    Raises:
        FibsegError: the lock cannot be made.
        FileNotFoundError: its folder is gone.
        Timeout: another process holds it longer than `timeout` seconds.
    """
    lock = FileLock(path, timeout=timeout)
    with write_errors_named(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def write_errors_named(path: Path) -> Iterator[None]:
    """Name a file that cannot be written: on a full disk the system's error names none.

    Raises:
        FibsegError: for any error of the system but a folder that is gone or not to be entered,
            whose error names it, and a lock that is held.
    """
    try:
        yield
    # What has a sentence already, and what the caller answers.
    except (FibsegError, FileNotFoundError, PermissionError, Timeout):
        raise
    except OSError as error:
        raise FibsegError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or give "
            "output= another place. The same command goes on."
        ) from error


@contextmanager
def lock_of_shard(folder: Path, shard: Shard, name: Path) -> Iterator[None]:
    """Keep other processes out of a part of the slices.

    Args:
        folder: of the locks.
        shard: the part.
        name: of the output, for messages.

    Raises:
        FibsegError: a process is in this part, or in one of another count, which overlaps.
    """
    lock = FileLock(folder / f".shard-{shard.number}-of-{shard.count}.lock", timeout=0)
    # To look whether a lock is free is to hold it for a moment. Processes look one at a time,
    # so that none takes the look of another for a process at work.
    with locked(folder / ".shards.lock"):
        for path in sorted(folder.glob(".shard-*.lock")):
            parts = int(path.stem.split("-")[-1])
            if parts != shard.count and not _is_free(path):
                raise FibsegError(
                    f"{name}: is labelled in {parts} parts now, not in {shard.count}; "
                    "wait for them."
                )
        try:
            with write_errors_named(Path(lock.lock_file)):
                lock.acquire()
        except Timeout:
            raise FibsegError(
                f"{name}: another process labels these slices; wait for it."
            ) from None
    try:
        yield
    finally:
        lock.release()


def _is_free(lock: Path) -> bool:
    """Whether no process holds a lock."""
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False
