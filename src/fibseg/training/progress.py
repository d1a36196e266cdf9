"""The progress of a training that a person watches: a bar in a terminal, and a line per epoch."""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from fibseg.training.module import Segmentation

REFRESH_SECONDS = 0.25
"""Least time between two movements of the bar: reading a loss waits for the device."""


class FilterProgress:
    """Shows a bar of filtered slices, for the `progress` of `StackDataModule`.

    The bar vanishes with the last slice; where the console is no terminal there is none.
    """

    def __init__(self, console: Console):
        self._bar = Progress(
            TextColumn("filtering"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("filtering", total=None)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` slices are filtered."""
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        if done == total:
            self._bar.stop()


class TrainingProgress(Callback):
    """Prints a line per epoch with losses, F1 and time left; in a terminal it adds a bar."""

    def __init__(self, console: Console, start: dict[str, float] | None = None):
        """Prepare the bar and the lines; `start` are figures of the weights at the start."""
        self.console = console
        self.start = start
        self._refreshed = 0.0
        self._start = 0.0
        self._first_epoch = 0
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
        """Start the bar at the first step that is still to do."""
        self._task = self._progress.add_task(
            "train",
            total=int(trainer.estimated_stepping_batches),
            completed=trainer.global_step,
            epoch=_epoch_of_epochs(trainer),
            loss="",
        )
        self._progress.start()
        self._start = monotonic()
        self._first_epoch = trainer.current_epoch
        if self.start is not None:
            self.console.print(
                f"epoch 0/{trainer.max_epochs}  the start: val loss {self.start['val_loss']:.4f}  "
                f"F1 {_f1_text(self.start['val_f1'])}",
                soft_wrap=True,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, once in REFRESH_SECONDS at most.

        Args:
            trainer: knows how many steps are done.
            pl_module: not used.
            outputs: the loss of the step, under "loss".
            batch: not used.
            batch_idx: not used.
        """
        if not self.console.is_terminal or self._task is None:
            return
        if monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = monotonic()
            self._progress.update(
                self._task,
                completed=trainer.global_step,
                epoch=_epoch_of_epochs(trainer),
                loss=f"loss {float(outputs['loss']):.3f}",
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the figures of the epoch."""
        assert isinstance(pl_module, Segmentation)
        metrics = pl_module.epoch_metrics
        done = trainer.current_epoch + 1
        epochs = trainer.max_epochs or 1
        seconds_per_epoch = (monotonic() - self._start) / (done - self._first_epoch)
        self.console.print(
            f"epoch {done}/{epochs}  loss {metrics['train_loss']:.4f}  "
            f"val loss {metrics['val_loss']:.4f}  F1 {_f1_text(metrics['val_f1'])}  "
            f"{seconds_per_epoch * (epochs - done):.0f} s left",
            soft_wrap=True,
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar, after an error too."""
        self._progress.stop()


def _f1_text(f1: float) -> str:
    """F1 as it is printed; patches without any class have none."""
    return "none" if math.isnan(f1) else f"{f1:.3f}"


def _epoch_of_epochs(trainer: Trainer) -> str:
    """Count the current epoch from 1, as in "3/100"."""
    return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
