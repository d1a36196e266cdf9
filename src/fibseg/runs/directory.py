"""A run directory: what lies where in it, its lock, and the model that it holds.

The contract is in docs/ARCHITECTURE.md, "A run directory". It needs neither torch nor Lightning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.errors import DiskFullError, FibsegError, RunTakenError
from fibseg.files import write_whole, writing

MODEL_FILE = "model.safetensors"
"""Name of the trained model in checkpoints/."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside a run directory, and its lock; nothing needs to exist."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration and its provenance."""
        return self.path / "config.yaml"

    @property
    def scores(self) -> Path:
        """Confusion counts of each scored slice; the last file that is written."""
        return self.path / "scores.json"

    @property
    def metrics(self) -> Path:
        """Losses and scores by epoch."""
        return self.path / "metrics.csv"

    @property
    def components(self) -> Path:
        """A row per 2-D component of truth and prediction."""
        return self.path / "components.csv"

    @property
    def packed_components(self) -> Path:
        """The rows of `components` compressed; fibseg reads them and never writes them."""
        return self.path / "components.csv.gz"

    @property
    def error(self) -> Path:
        """Traceback of a run that failed."""
        return self.path / "error.txt"

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.path / "log.txt"

    @property
    def figures(self) -> Path:
        """Folder of learning curves and labelled slices."""
        return self.path / "figures"

    @property
    def model_file(self) -> Path:
        """The trained model: of a network, with the weights of the best epoch."""
        return self.path / "checkpoints" / MODEL_FILE

    @property
    def older_models(self) -> list[Path]:
        """Where older versions wrote the trained model: a network, and a forest."""
        return [self.path / "checkpoints" / name for name in ("best.ckpt", "forest.safetensors")]

    @property
    def last(self) -> Path:
        """Checkpoint from which the training resumes."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The checkpoint before `last`, for when that one is damaged."""
        return self.path / "checkpoints" / "previous.ckpt"

    def model(self) -> Path | None:
        """The trained model; None before the training, and for a run that keeps no model."""
        # After a kill an older one may stand beside the one that replaced it.
        paths = (self.model_file, *self.older_models)
        return next((path for path in paths if path.is_file()), None)

    def remove_older_models(self) -> None:
        """Delete the model of an older version, once `model_file` replaces it."""
        for path in self.older_models:
            path.unlink(missing_ok=True)

    def labels(self, split: str) -> Path:
        """Predicted class indices of a split, a page per scored slice."""
        return self.path / "labels" / f"{split}.tif"

    def picture(self, name: str) -> Path:
        """A picture of the finished run: of a split with labels, or "curves" over the epochs."""
        return self.figures / f"{name}.png"

    def lacking_pictures(self) -> list[str]:
        """Names of the pictures that a finished run could have and has not, as after a kill."""
        drawn_from = {split: self.labels(split) for split in ("validation", "test")}
        drawn_from["curves"] = self.metrics
        return [
            name
            for name, source in drawn_from.items()
            if source.exists() and not self.picture(name).exists()
        ]

    def write_error(self, text: str) -> bool:
        """Write error.txt; gives whether that was possible.

        On a full disk the error that is written here is the one to report, and not that of this
        write.
        """
        try:
            write_whole(self.error, text)
        except OSError:
            return False
        return True

    def remove_state(self) -> None:
        """Delete what only a resumed training needs, after the run has finished."""
        for path in (self.last, self.previous):
            path.unlink(missing_ok=True)

    def is_free(self) -> bool:
        """Whether no process works in this run."""
        try:
            # Locking makes the directory, so one that is missing is not locked to find out.
            with self.lock() if self.path.exists() else nullcontext():
                return True
        except RunTakenError:
            return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out; the lock of a killed process is free at once.

        Raises:
            RunTakenError: another process works in this run.
            FibsegError: the directory cannot be made.
        """
        try:
            with writing(self.path / ".lock"):
                self.path.mkdir(parents=True, exist_ok=True)
                # Fail at once: a training that waits for another one would look as if it hung.
                lock = FileLock(self.path / ".lock", timeout=0)
                lock.acquire()
        # The lock is one of the system, not the mere presence of .lock: it ends with its process.
        except Timeout:
            raise RunTakenError(
                f"{self.path}: another process is in this run; wait for it, or stop it."
            ) from None
        except DiskFullError:
            raise
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
    # config.yaml is the first file of a run and scores.json the last one. Either is enough, so that
    # a run that lost one of them is reported and not passed over.
    return any((path / name).exists() for name in ("scores.json", "config.yaml"))


def find_checkpoint(path: Path) -> Path:
    """The model file of a run directory; a path to a file is returned as it is.

    Raises:
        FibsegError: the directory holds no trained model.
    """
    checkpoint = RunDirectory(path).model() if path.is_dir() else path
    if checkpoint is not None:
        return checkpoint
    # Ilastik labels the slices in its own process, so there is nothing to keep.
    if (path / "ilastik.log").exists():
        raise FibsegError(f"{path}: a run of Ilastik keeps no model; let Ilastik label the stack.")
    raise FibsegError(
        f"{path}: no run directory with a trained model (no checkpoints/{MODEL_FILE})."
    )
