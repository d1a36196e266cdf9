"""Lightning callbacks: the checkpoints of a run, and the line a person watches."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import CheckpointIO
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from fibseg.models.checkpoints import is_whole, load_whole, save_whole
from fibseg.models.trained import TrainedModel, save_model
from fibseg.runs.directory import RunDirectory
from fibseg.training.module import Segmentation


class WholeCheckpointIO(CheckpointIO):
    """Lightning's way to its checkpoints: staged in the run directory, checked when read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write whole or not at all."""
        save_whole(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read as data only, whatever `weights_only` says."""
        return load_whole(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete one."""
        Path(path).unlink(missing_ok=True)


class RunCheckpoints(Callback):
    """After each validation: best.ckpt where the validation loss fell, then last.ckpt; the one before stays.

    best.ckpt is written first: a kill between the two only makes the resumed run write the same best.ckpt again.
    SIGTERM lets the epoch end and be saved, then raises KeyboardInterrupt; a second one raises it at once. Who has
    another answer to SIGTERM, as a job of Slurm, keeps it.
    """

    def __init__(self, run: RunDirectory, model: TrainedModel):
        """`model` describes the network that is trained; its weights are saved as they are at that time."""
        self.run, self.model = run, model
        self.best_loss, self.best_epoch = float("inf"), -1
        self.seconds, self._start = 0.0, 0.0
        self._stopping = False
        before = signal.getsignal(signal.SIGTERM)
        self._answer = before if callable(before) else self._stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on counting the seconds of training; take SIGTERM from Lightning, which would stop within the epoch."""
        self._start = monotonic() - self.seconds
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, self._answer
            )  # Lightning puts back the one before at the end

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = True

    def state_dict(self) -> dict[str, Any]:
        """Goes into last.ckpt."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Comes out of last.ckpt."""
        self.best_loss, self.best_epoch = state_dict["best_loss"], state_dict["best_epoch"]
        self.seconds = state_dict["seconds"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save. The first epoch is always the best so far; a loss that is NaN is replaced by any other."""
        assert isinstance(pl_module, Segmentation)
        loss = pl_module.epoch_metrics["val_loss"]
        self.run.best.parent.mkdir(exist_ok=True)
        self.seconds = monotonic() - self._start
        if self.best_epoch < 0 or loss < self.best_loss:
            self.best_loss, self.best_epoch = (
                loss if loss == loss else float("inf"),
                trainer.current_epoch,
            )
            save_model(self.model, self.run.best)
        if self.run.last.exists():
            os.replace(self.run.last, self.run.previous)
        trainer.save_checkpoint(self.run.last)
        if self._stopping:
            raise KeyboardInterrupt


def usable_checkpoint(run: RunDirectory) -> Path | None:
    """The newest whole checkpoint to resume from; None to start anew, as where best.ckpt is damaged.

    Damaged ones are deleted, so that they never become the one that is kept beside a newer one; without best.ckpt all
    are, so that nothing of the old training mixes with the new one.
    """
    for path in (run.best, run.last, run.previous):
        if path.exists() and not is_whole(path):
            path.unlink()
    if not run.best.exists():
        run.remove_state()
    return next((path for path in (run.last, run.previous) if path.exists()), None)


class FilterProgress:
    """A bar of slices filtered, for StackDataModule's `report`; it goes when the last one is done."""

    def __init__(self, console: Console):
        columns = (
            TextColumn("filtering"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        )
        self._bar = Progress(
            *columns, console=console, disable=not console.is_terminal, transient=True
        )
        self._task = self._bar.add_task("filtering", total=None)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` slices are filtered."""
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        if done == total:
            self._bar.stop()


class TrainingProgress(Callback):
    """One plain line per epoch with losses, F1 and time left; in a terminal a bar below them."""

    def __init__(self, console: Console):
        self.console = console
        self._shown, self._start, self._first_epoch = 0.0, 0.0, 0
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar, at the first step that is not done yet."""
        total, epoch = int(trainer.estimated_stepping_batches), self._epoch(trainer)
        self._task = self._progress.add_task(
            "train", total=total, completed=trainer.global_step, epoch=epoch, loss=""
        )
        self._progress.start()
        self._start, self._first_epoch = monotonic(), trainer.current_epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, four times a second at most: reading a loss waits for the device."""
        if self.console.is_terminal and monotonic() - self._shown > 0.25 and self._task is not None:
            self._shown = monotonic()
            epoch, loss = self._epoch(trainer), f"loss {float(outputs['loss']):.3f}"
            self._progress.update(self._task, completed=trainer.global_step, epoch=epoch, loss=loss)

    def _epoch(self, trainer: Trainer) -> str:
        return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what the epoch reached."""
        assert isinstance(pl_module, Segmentation)
        figures = pl_module.epoch_metrics
        done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        left = (monotonic() - self._start) / (done - self._first_epoch) * (epochs - done)
        self.console.print(
            f"epoch {done}/{epochs}  loss {figures['train_loss']:.4f}  val loss {figures['val_loss']:.4f}  "
            f"F1 {figures['val_f1']:.3f}  {left:.0f} s left",
            soft_wrap=True,
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away, after an error too."""
        self._progress.stop()


def make_trainer(
    epochs: int, device: torch.device, precision: str, callbacks: list[Callback]
) -> Trainer:
    """Lightning's trainer with these callbacks and nothing else that writes or speaks."""
    logging.getLogger("pytorch_lightning").setLevel(
        logging.ERROR
    )  # its hints are no news to a user of train.py
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
    return Trainer(
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        callbacks=callbacks,
        plugins=[
            WholeCheckpointIO(),
            LightningEnvironment(),
        ],  # one process, inside a job of Slurm too
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
