"""Processes that die, and what is left of them. Imported by workers, so it imports little."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from fibseg.files import partial_path


def worker_dies(*_: object) -> NoReturn:
    """A job that ends its worker as a kill does."""
    os._exit(1)


def start_python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a Python process that has this one's modules; its output is text."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def has_ended(process: int, seconds: float = 10) -> bool:
    """Whether a process, by its number, ends within some seconds; a zombie has ended."""
    status = Path("/proc", str(process), "status")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "Z (zombie)" in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def partial_of(path: Path, process: int, start: str = "1", machine: str | None = None) -> Path:
    """A partial file as a process of this number leaves it; by default it has ended."""
    shared = partial_path(path, shared=True).name.removesuffix(".partial")
    here = shared.rpartition(".")[2].split("-")[0]
    return path.with_name(f".{path.name}.{machine or here}-{process}-{start}.partial")
