"""What is kept of a run while it trains: metrics.csv, and the same on boards, with pictures.

metrics.csv is the truth. After a crash, what W&B (offline) and TensorBoard hold may lack the last
seconds or reach beyond the last checkpoint. Both are therefore written again from metrics.csv and
the kept pictures, and one run stays one run, without a gap. How each board takes figures is in
`fibseg.training.boards`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn import Module

from fibseg.arrays import UInt8
from fibseg.files import write_whole
from fibseg.pages.figures import overlay
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import START_EPOCH, read_metrics
from fibseg.training.boards import Board, ScoresBySplit
from fibseg.training.module import Segmentation
from fibseg.training.pictures import warn_instead

PANEL_SIDE = 512
"""Side in pixels of the part of a slice that a panel shows, at most."""


class MetricsFile(Callback):
    """Writes metrics.csv after each validation, before the checkpoint of that epoch.

    A resumed run drops the rows of epochs that it repeats, so that no epoch is missing or double.
    """

    def __init__(self, path: Path, start: dict[str, float] | None = None):
        """Prepare the file at `path`; `start` are figures of the weights at the start."""
        self.path = path
        self.start = start
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of finished epochs, or begin with that of the start."""
        if self.start is not None:
            self._rows = []
            self._add(START_EPOCH, 0, self.start)
            return
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # By steps, because Lightning raises the number of the epoch only after this hook.
        self._rows = [row for row in rows if int(row["step"]) <= trainer.global_step]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        assert isinstance(pl_module, Segmentation)
        self._add(trainer.current_epoch, trainer.global_step, pl_module.epoch_metrics)

    def _add(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Add a row, and write the file."""
        figures = {name: f"{value:.6g}" for name, value in metrics.items()}
        self._rows.append({"epoch": str(epoch), "step": str(step), **figures})
        # Written as a whole each time: a row that is appended may be cut off by a kill.
        text = io.StringIO()
        writer = csv.DictWriter(
            text,
            fieldnames=list(self._rows[-1]),
            # The start has no figures of a training.
            restval="nan",
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self.path, text.getvalue())


class Panel:
    """Draws the middle of a slice: image, truth, prediction and filter channels, side by side."""

    def __init__(
        self,
        image: UInt8,
        truth: UInt8,
        channels_of: Callable[[UInt8], UInt8],
        side: int = PANEL_SIDE,
    ):
        """Cut the middle of a slice.

        Args:
            image: (1 + n, H, W), 8 bits: the slice and n others around it.
            truth: (H, W) class indices.
            channels_of: makes channels (C, h, w) of the pixels (1 + n, h, w) that are shown.
            side: of the square that is shown, in pixels; less where the slice is smaller.
        """
        starts = [max(0, (length - side) // 2) for length in truth.shape]
        middle = tuple(slice(start, start + side) for start in starts)
        self.channels = channels_of(np.ascontiguousarray(image[:, *middle]))
        self.truth = truth[middle]

    def __call__(self, network: Module, device: torch.device) -> UInt8:
        """Draw the picture (h, (2 + C) * w, 3) for a network in evaluation mode."""
        pixels = torch.from_numpy(self.channels)[None].to(device).float().mul_(1 / 255)
        with torch.inference_mode():
            predicted = network(pixels).argmax(1)[0].to("cpu", torch.uint8).numpy()
        image, *filtered = self.channels
        nothing = np.zeros_like(predicted)
        pictures = [
            overlay(image, nothing, 0),
            overlay(image, self.truth, 0.5),
            overlay(image, predicted, 0.5),
            *(overlay(channel, nothing, 0) for channel in filtered),
        ]
        return np.concatenate(pictures, axis=1)


class Tracking(Callback):
    """Gives the figures and pictures of each epoch to boards.

    It stands after MetricsFile among the callbacks, whose rows it reads when a run is resumed.
    """

    def __init__(
        self,
        run: RunDirectory,
        boards: Sequence[Board],
        panel: Panel | None,
        images_every: int,
        report: Callable[[str], None],
    ):
        """Keep the boards.

        Args:
            run: directory that keeps the pictures, as figures/panel-<epoch>.png.
            boards: take figures and pictures.
            panel: draws the pictures; None for no pictures.
            images_every: number of epochs from one picture to the next; 0 for no pictures.
            report: prints what a person should know.
        """
        self.run = run
        self.boards = boards
        self.panel = panel
        self.images_every = images_every
        self.report = report

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the finished epochs of a resumed run again."""
        if not self.run.metrics.exists():
            return
        for metrics in read_metrics(self.run.metrics):
            if metrics["step"] <= trainer.global_step:
                self._show(metrics, int(metrics["epoch"]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show this epoch."""
        assert isinstance(pl_module, Segmentation)
        epoch = trainer.current_epoch
        if self.panel is not None and self.images_every and (epoch + 1) % self.images_every == 0:
            with warn_instead(f"picture of epoch {epoch + 1}", self.report):
                png = io.BytesIO()
                picture = self.panel(pl_module.kept_network, pl_module.device)
                Image.fromarray(picture).save(png, "PNG")
                # A file, because the boards of a resumed run are written again from it.
                write_whole(self._picture(epoch), png.getvalue())
        self._show({"epoch": epoch, "step": trainer.global_step, **pl_module.epoch_metrics}, epoch)

    def _picture(self, epoch: int) -> Path:
        """Name the file of an epoch's picture."""
        return Path(self.run.figures / f"panel-{epoch:04d}.png")

    def _show(self, metrics: dict[str, float], epoch: int) -> None:
        """Give an epoch's figures, and its picture if there is one, to every board."""
        for board in self.boards:
            board.row(metrics, epoch)
            if self._picture(epoch).exists():
                with warn_instead(f"picture of epoch {epoch + 1}", self.report):
                    board.picture(np.asarray(Image.open(self._picture(epoch))), epoch)

    @contextmanager
    def running(self) -> Iterator[ScoresBySplit]:
        """Give a mapping to fill with the final scores; close the boards, after an error too."""
        scores: ScoresBySplit = {}
        try:
            yield scores
        finally:
            for board in self.boards:
                board.close(scores)
