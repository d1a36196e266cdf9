"""Files that are there whole or not at all, and room on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fibseg.errors import FibsegError


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def require_disk(path: Path, needed: float, purpose: str) -> None:
    """FibsegError if fewer than `needed` bytes are free where `path` is or will be."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FibsegError(
            f"{existing}: {purpose} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; make room."
        )
