"""A run directory: its name, what is in it, and how it is written and read. Needs neither torch nor Lightning.

The contract stands in docs/ARCHITECTURE.md, "A run directory".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.errors import FibsegError, RunTakenError


@dataclass(frozen=True)
class RunDirectory:
    """Places inside a run directory."""

    path: Path

    config = property(lambda self: self.path / "config.yaml")
    scores = property(lambda self: self.path / "scores.json")
    metrics = property(lambda self: self.path / "metrics.csv")
    components = property(lambda self: self.path / "components.csv")
    error = property(lambda self: self.path / "error.txt")
    log = property(lambda self: self.path / "log.txt")
    figures = property(lambda self: self.path / "figures")
    best = property(lambda self: self.path / "checkpoints" / "best.ckpt")
    forest = property(lambda self: self.path / "checkpoints" / "forest.safetensors")
    last = property(lambda self: self.path / "checkpoints" / "last.ckpt")
    previous = property(lambda self: self.path / "checkpoints" / "previous.ckpt")

    def model(self) -> Path | None:
        """What was trained; None before, and for what keeps no model."""
        return next((path for path in (self.best, self.forest) if path.is_file()), None)

    def labels(self, split: str) -> Path:
        """Predicted class indices of a split, a page per scored slice."""
        return self.path / "labels" / f"{split}.tif"

    def remove_state(self) -> None:
        """Delete what only a resumed training needs; the run is finished."""
        for path in (self.last, self.previous):
            path.unlink(missing_ok=True)

    def is_free(self) -> bool:
        """Whether no process is in this run."""
        try:
            with self.lock() if self.path.exists() else nullcontext():
                return True
        except RunTakenError:
            return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out; the lock of a killed process is free at once.

        Raises:
            FibsegError: another process is in this run, or the directory cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise RunTakenError(
                f"{self.path}: another process is in this run; wait for it, or stop it."
            ) from None
        except OSError as error:
            raise FibsegError(
                f"{self.path}: the run directory cannot be made ({error})."
            ) from error
        try:
            yield
        finally:
            lock.release()


def is_run(path: Path) -> bool:
    """Whether a folder looks like a run directory, finished or not."""
    return any((path / name).exists() for name in ("scores.json", "config.yaml"))


def find_checkpoint(path: Path) -> Path:
    """The checkpoint of a run directory, or the file itself."""
    found = RunDirectory(path).model() if path.is_dir() else path
    if found is None and (path / "ilastik.log").exists():
        raise FibsegError(f"{path}: a run of Ilastik keeps no model; let Ilastik label the stack.")
    if found is None:
        raise FibsegError(
            f"{path}: no run directory with a trained model (no checkpoints/best.ckpt)."
        )
    return found
