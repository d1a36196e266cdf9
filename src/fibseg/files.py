"""Files that are there whole or not at all, and room on the disk.

Here: writing beside the target and renaming, free bytes. Not here: formats (`fibseg.stack`), what is in a run directory
(`fibseg.runs`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fibseg.errors import FibsegError


def partial_path(path: Path, shared: bool = False) -> Path:
    """Where a file is written before it takes its name: beside it, since TMPDIR may be another file system.

    Args:
        path: the name that it will have.
        shared: whether several processes may write it at once, so that each needs a name of its own. A lone writer keeps
            one name, so that a kill leaves one file at most.
    """
    process = f".{os.getpid()}" if shared else ""
    return path.with_name(f".{path.name}{process}.partial")


@contextmanager
def replacing(path: Path, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """Gives a path to write to; at the end of the block that file takes the name `path`, after an error it is removed.

    A reader sees the old file or the whole new one, through a kill or a full disk.

    Args:
        path: the name that the file will have; its folder is made.
        shared: as in `partial_path`.
        durable: wait until the bytes are on the disk before the name changes, which outlives a loss of power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path, shared)
    try:
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    with replacing(path, durable=True) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_partials(path: Path) -> None:
    """Delete what processes left beside a file or folder that were killed while they wrote it."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def require_disk(path: Path, needed: float, purpose: str) -> None:
    """FibsegError if fewer than `needed` bytes are free where `path` is or will be."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FibsegError(
            f"{existing}: {purpose} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; "
            "make room."
        )
