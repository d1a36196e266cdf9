"""Lightning callbacks: the checkpoints of a run.

Here too: Lightning's trainer, with nothing but the callbacks that it is given. Not here: what is
shown in a terminal (`fibseg.training.progress`), on W&B and TensorBoard
(`fibseg.training.tracking`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import CheckpointIO

from fibseg.errors import FibsegError, Terminated
from fibseg.machine import raise_terminated
from fibseg.models.checkpoints import is_whole, load_whole, save_whole
from fibseg.models.trained import TrainedModel, keep_model
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import divergence, has_diverged
from fibseg.training.module import Segmentation


# Lightning's own stages a file in TMPDIR, and a move between two file systems can be cut off; its
# AsyncCheckpointIO waits for nothing, so that short epochs would fill the memory.
class WholeCheckpointIO(CheckpointIO):
    """Reads and writes Lightning's checkpoints whole or not at all, and never as pickled code.

    A thread writes copies of weights while the training goes on: with a fast GPU an epoch takes no
    longer than a disk needs for them.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._writing: list[Future[Any]] = []

    def begin(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Let the thread call a function, behind what it has begun before.

        It is not called where one of these has failed: last.ckpt without the best model that it
        speaks of would leave the training with an earlier one.
        """
        before = list(self._writing)

        def write_next() -> None:
            if not any(future.exception() for future in before):
                write(*arguments)

        self._writing.append(self._thread.submit(write_next))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Begin to write a checkpoint to a file. A kill leaves the old file or the whole new one.

        Let `wait` come before: each checkpoint that waits for the disk is a copy of all weights.
        """
        copy = apply_to_collection(checkpoint, torch.Tensor, copied_to_host)
        self.begin(save_whole, copy, Path(path))

    def wait(self) -> None:
        """Wait until what was saved is on the disk.

        Raises:
            FibsegError: it could not be written.
        """
        writing = self._writing
        self._writing = []
        for future in writing:
            future.result()

    def teardown(self) -> None:
        """Wait for the thread; after an error of the training, that of a write says no more."""
        with suppress(FibsegError):
            self.wait()

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as data only, whatever `weights_only` says.

        Raises:
            FibsegError: the file is missing or damaged, or it holds pickled code.
        """
        return load_whole(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint; a missing file is no error."""
        Path(path).unlink(missing_ok=True)


def copied_to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that later steps leave as it is."""
    return tensor.detach().to("cpu", copy=True)


def selection_loss(metrics: Mapping[str, float]) -> float:
    """What the best epoch has least of: the validation loss, or 1 - F1 of slices if measured."""
    f1 = metrics.get("slices_f1")
    if f1 is None:
        return metrics["val_loss"]
    # No slice holds a class: one epoch is as good as another, and the first is kept.
    return 1.0 if np.isnan(f1) else 1 - f1


# In place of Lightning's ModelCheckpoint, which writes best-v1.ckpt beside a best.ckpt that it
# finds, and leaves the old one to be loaded.
class RunCheckpoints(Callback):
    """Writes the model and last.ckpt after each validation, and stops a training at SIGTERM.

    The model is written where the validation loss fell, or where the F1 of whole slices rose if
    `SliceScores` measured it. last.ckpt is always written; the one before it stays as
    previous.ckpt. The weights that a run starts from may be the best ones. An epoch whose
    loss is no number ends the training, and none of its weights are kept.

    SIGTERM lets the epoch end and be saved, then raises KeyboardInterrupt; a second SIGTERM raises
    it at once. A process that has its own handler of SIGTERM, such as a job of Slurm, keeps it.
    """

    def __init__(
        self, run: RunDirectory, model: TrainedModel, start: dict[str, float] | None = None
    ):
        """Prepare the checkpoints of a training.

        Args:
            run: directory that takes the checkpoints.
            model: describes the network that is trained; its weights are saved as they are then.
            start: figures of the weights that it has now, where they may be the best ones.
        """
        self.run = run
        self.model = model
        self.start = start
        self.best_loss = float("inf")
        self.best_epoch = -1
        self.seconds = 0.0
        self._start = 0.0
        self._stopping = False
        earlier_handler = signal.getsignal(signal.SIGTERM)
        # That of the program would lose the epoch that has begun.
        is_own = callable(earlier_handler) and earlier_handler is not raise_terminated
        self._handler = earlier_handler if is_own else self._stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resume the count of seconds, and handle SIGTERM in place of Lightning."""
        self._start = monotonic() - self.seconds
        # Lightning would stop within the epoch. It restores the earlier handler when the training
        # ends; Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)
        # NaN is below nothing: a start without a loss is none to go back to.
        if self.start is not None and selection_loss(self.start) < self.best_loss:
            self.best_loss = selection_loss(self.start)
            keep_model(self.model, self.run)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ask for a stop after this epoch; the second call stops at once."""
        if self._stopping:
            raise Terminated
        self._stopping = True

    def state_dict(self) -> dict[str, Any]:
        """Return what last.ckpt keeps of this callback."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what last.ckpt keeps of this callback."""
        self.best_loss = state_dict["best_loss"]
        self.best_epoch = state_dict["best_epoch"]
        self.seconds = state_dict["seconds"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, then stop where SIGTERM asked for it."""
        assert isinstance(pl_module, Segmentation)
        # In this hook, since callbacks come before the module in `on_validation_epoch_end`.
        loss = selection_loss(pl_module.epoch_metrics)
        if has_diverged(pl_module.epoch_metrics):
            # Nothing is left to resume from: the next epoch would be as this one.
            _wait_for_disk(trainer)
            self.run.remove_state()
            epoch = {"epoch": float(trainer.current_epoch)}
            raise divergence(self.run, epoch | pl_module.epoch_metrics)
        self.seconds = monotonic() - self._start
        _wait_for_disk(trainer)
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_epoch = trainer.current_epoch
            # The model comes before last.ckpt: after a kill between the two, the resumed run
            # repeats the epoch and writes the same model again.
            weights = pl_module.kept_network.state_dict()
            copy = {name: copied_to_host(value) for name, value in weights.items()}
            _disk_of(trainer).begin(keep_model, self.model, self.run, copy)
        _disk_of(trainer).begin(self._keep_previous)
        trainer.save_checkpoint(self.run.last)
        if self._stopping:
            _wait_for_disk(trainer)
            raise Terminated

    def _keep_previous(self) -> None:
        """Keep the last.ckpt before, for one that turns out to be damaged."""
        if self.run.last.exists():
            os.replace(self.run.last, self.run.previous)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last checkpoint: whoever reads the run finds it whole."""
        _wait_for_disk(trainer)


def _disk_of(trainer: Trainer) -> WholeCheckpointIO:
    """The writer that `make_trainer` gave to a trainer."""
    return cast("WholeCheckpointIO", trainer.strategy.checkpoint_io)


def _wait_for_disk(trainer: Trainer) -> None:
    """Wait for what a thread writes, and raise the error of a write that failed."""
    _disk_of(trainer).wait()


def usable_checkpoint(run: RunDirectory) -> Path | None:
    """Find the newest whole checkpoint to resume from; None where the training must start anew.

    Damaged checkpoints are deleted, so that none is ever kept as the older one of two. Without a
    whole model all are deleted, so that nothing of the old training mixes with the new one.
    """
    model = run.model()
    if model is not None and not is_whole(model):
        # With one of an older version beside it, which is of an earlier epoch.
        run.model_file.unlink(missing_ok=True)
        run.remove_older_models()
    for path in (run.last, run.previous):
        if path.exists() and not is_whole(path):
            path.unlink()
    if run.model() is None:
        run.remove_state()
    return next((path for path in (run.last, run.previous) if path.exists()), None)


def make_trainer(
    epochs: int, device: torch.device, precision: str, callbacks: list[Callback]
) -> Trainer:
    """Make Lightning's trainer with these callbacks and nothing else that writes or prints."""
    # Lightning's hints ("use more workers", "use a logger") are of no use to who typed a command.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
    return Trainer(
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        callbacks=callbacks,
        # LightningEnvironment: one process, even inside a job of Slurm, whose variables would make
        # Lightning wait for the other tasks of the job.
        plugins=[WholeCheckpointIO(), LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # A validation before the training would count as an epoch for these callbacks.
        num_sanity_val_steps=0,
        # Sums that are reset in inference mode, after a start is scored, could not be added to.
        inference_mode=False,
    )
