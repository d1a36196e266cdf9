"""Files that appear whole or not at all, and room on the disk.

Here: writing beside the target and renaming, free bytes. Not here: formats (`fibseg.stack`), what
is in a run directory (`fibseg.runs`).
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fibseg.errors import DiskFullError, FibsegError

_NO_ROOM = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota of this account is used up; make room",
    errno.EFBIG: "files may not become that large here; raise the limit (ulimit -f)",
}
"""Number of an error that a lack of room causes -> the reason, and what to do."""


def partial_path(path: Path, shared: bool = False) -> Path:
    """Return the name under which a file is written before it takes its own.

    Args:
        path: the name that it will have.
        shared: whether several processes may write it at once, so that each needs a name of its
            own. A lone writer keeps one name, so that a kill leaves one file at most.
    """
    process = f".{os.getpid()}" if shared else ""
    # Beside the target: TMPDIR may be on another file system, where a rename is a copy.
    return path.with_name(f".{path.name}{process}.partial")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in the error of a block that writes it and finds no room.

    The system's own error says "No space left on device", and no file.

    Raises:
        DiskFullError: the disk is full, a quota is used up, or a file grew beyond a limit.
    """
    try:
        yield
    # A block within this one knows its file better.
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DiskFullError(
            f"{path}: cannot be written: {_NO_ROOM[error.errno]}, then give the same command again."
        ) from error


@contextmanager
def replacing(path: Path, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to; the file there takes the name `path` at the end of the block.

    A reader sees the old file or the whole new one, even after a kill or on a full disk. After an
    exception the new file is removed.

    Args:
        path: the name that the file will have; its folder is made.
        shared: as in `partial_path`.
        durable: whether the bytes must be on the disk before the name changes, which outlives a
            loss of power.

    Raises:
        DiskFullError: there is no room for the file.
    """
    partial = partial_path(path, shared)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if durable:
                with partial.open("rb") as file:
                    # Else the new name may reach the disk before the bytes, and name an empty file.
                    os.fsync(file.fileno())
            os.replace(partial, path)
        # KeyboardInterrupt too: a program that is stopped leaves nothing half-written.
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all; a text in UTF-8.

    Raises:
        DiskFullError: there is no room for the file.
    """
    with replacing(path, durable=True) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def take_place(partial: Path, path: Path) -> None:
    """Rename a finished file or folder to `path`, in place of what has that name."""
    if not path.is_dir():
        os.replace(partial, path)
        return
    # A rename cannot replace a folder that holds files. The old folder keeps all of them under
    # another name until the new one is in place, in case this process is killed between the two.
    old = partial.with_name(f"{partial.name.removesuffix('.partial')}.old.partial")
    os.replace(path, old)
    os.replace(partial, path)
    remove(old)


def remove(path: Path) -> None:
    """Delete a file or a folder with all in it, if there is one; a folder as far as it can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Delete what killed processes left beside a file or folder that several could write."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        remove(leftover)


def require_disk(path: Path, needed: float, purpose: str) -> None:
    """Check that `needed` bytes are free where `path` is or will be.

    Raises:
        FibsegError: fewer are free; the message says that `purpose` needs them.
    """
    # A folder that does not exist yet will lie on the disk of its nearest parent.
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FibsegError(
            f"{existing}: {purpose} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; "
            "make room."
        )
