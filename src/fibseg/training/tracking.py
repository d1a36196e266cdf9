"""What a run tells while it trains: metrics.csv, one row per epoch, and the same to W&B and TensorBoard.

metrics.csv is the truth. After a crash, what W&B (offline) and TensorBoard hold may lack the last seconds or reach
beyond the last checkpoint, so it is written anew from metrics.csv and the kept pictures: one run stays one run, without
a gap.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn import Module

from fibseg.config.schemas import TrainConfig
from fibseg.files import write_whole
from fibseg.pages.figures import overlay
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import read_metrics
from fibseg.training import wandb_run
from fibseg.training.module import Segmentation

UInt8 = NDArray[np.uint8]


class MetricsFile(Callback):
    """Writes metrics.csv anew after each validation, before the checkpoint of that epoch.

    A resumed run drops the rows of epochs that it will do again, so there is no gap and no double row.
    """

    def __init__(self, path: Path):
        self.path = path
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of epochs that are done, by their steps: the epoch's number rises only after this hook."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = [
                    row for row in csv.DictReader(file) if int(row["step"]) <= trainer.global_step
                ]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        assert isinstance(pl_module, Segmentation)
        figures = {name: f"{value:.6g}" for name, value in pl_module.epoch_metrics.items()}
        self._rows.append(
            {"epoch": str(trainer.current_epoch), "step": str(trainer.global_step), **figures}
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self.path, text.getvalue())


class Board(Protocol):
    """Where figures are shown."""

    def row(self, figures: dict[str, float], epoch: int) -> None:
        """Add the figures of an epoch."""

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Add an RGB picture (H, W, 3)."""

    def close(self, scores: dict[str, dict[str, float]]) -> None:
        """Add the final scores, split -> class -> F1, if there are any, and let go."""


class TensorBoard:
    """Event files in <run>/tensorboard."""

    def __init__(self, folder: Path):
        """What an earlier start of the run left is removed."""
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))

    def row(self, figures: dict[str, float], epoch: int) -> None:
        """One scalar per figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Under the name "panel"."""
        self._writer.add_image("panel", pixels, epoch, dataformats="HWC")

    def close(self, scores: dict[str, dict[str, float]]) -> None:
        """Scores as scalars at step 0."""
        for split, by_class in scores.items():
            for name, score in by_class.items():
                self._writer.add_scalar(f"{split}_f1/{name}", score, 0)
        self._writer.close()


class Wandb:
    """A run of W&B: group = the configuration without the seed, name = the seed."""

    def __init__(
        self,
        run: RunDirectory,
        identity: dict[str, Any],
        config: dict[str, Any],
        report: Callable[[str], None],
    ):
        """`identity` holds project, entity, group, name, id and tags, as wandb.init takes them."""
        for old in (run.path / "wandb").glob(f"offline-run-*-{identity['id']}"):
            shutil.rmtree(old, ignore_errors=True)
        self._run, online = wandb_run.start(run.path, {"config": config, **identity}, True, report)
        self._first = (
            self._run.step if online else 0
        )  # what an online run has already is not sent twice

    def row(self, figures: dict[str, float], epoch: int) -> None:
        """Step = epoch."""
        if epoch >= self._first:
            self._run.log(figures, step=epoch)

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Under the name "panel"."""
        import wandb

        if epoch >= self._first:
            self._run.log({"panel": wandb.Image(Image.fromarray(pixels))}, step=epoch)

    def close(self, scores: dict[str, dict[str, float]]) -> None:
        """Scores as summary and as a table."""
        import wandb

        if scores:
            for split, by_class in scores.items():
                self._run.summary.update(
                    {f"{split}_f1/{name}": score for name, score in by_class.items()}
                )
            table = wandb.Table(columns=["class", *scores])
            for name in next(iter(scores.values())):
                table.add_data(name, *(by_class[name] for by_class in scores.values()))
            self._run.log({"scores": table})
        self._run.finish()


class Panel:
    """The middle of a slice as a picture: image, truth, prediction, and the filter channels, side by side."""

    def __init__(
        self, image: UInt8, truth: UInt8, channels_of: Callable[[UInt8], UInt8], side: int = 512
    ):
        """(H, W) 8-bit image and class indices; `channels_of` makes (C, h, w) of the `side` x `side` pixels shown."""
        middle = tuple(
            slice(max(0, (length - side) // 2), max(0, (length - side) // 2) + side)
            for length in truth.shape
        )
        self.channels, self.truth = channels_of(np.ascontiguousarray(image[middle])), truth[middle]

    def __call__(self, network: Module, device: torch.device) -> UInt8:
        """(h, (2 + C) * w, 3) for a network in evaluation mode."""
        pixels = torch.from_numpy(self.channels)[None].to(device).float().mul_(1 / 255)
        with torch.inference_mode():
            predicted = network(pixels).argmax(1)[0].to("cpu", torch.uint8).numpy()
        image, *filtered = self.channels
        pictures = [
            overlay(image, 0 * predicted, 0),
            overlay(image, self.truth, 0.5),
            overlay(image, predicted, 0.5),
        ]
        return np.concatenate(
            [*pictures, *(overlay(one, 0 * predicted, 0) for one in filtered)], axis=1
        )


class Tracking(Callback):
    """Hands rows and pictures of each epoch to boards; after MetricsFile among the callbacks."""

    def __init__(
        self, run: RunDirectory, boards: Sequence[Board], panel: Panel | None, images_every: int
    ):
        """A picture every `images_every` epochs, none for 0; kept as figures/panel-<epoch>.png."""
        self.run, self.boards, self.panel, self.images_every = run, boards, panel, images_every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show again what a resumed run has done."""
        if not self.run.metrics.exists():
            return
        for figures in read_metrics(self.run.metrics):
            if figures["step"] <= trainer.global_step:
                self._show(figures, int(figures["epoch"]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show this epoch."""
        assert isinstance(pl_module, Segmentation)
        epoch = trainer.current_epoch
        if self.panel is not None and self.images_every and (epoch + 1) % self.images_every == 0:
            self.run.figures.mkdir(exist_ok=True)
            Image.fromarray(self.panel(pl_module.network, pl_module.device)).save(
                self._picture(epoch)
            )
        self._show({"epoch": epoch, "step": trainer.global_step, **pl_module.epoch_metrics}, epoch)

    def _picture(self, epoch: int) -> Path:
        return Path(self.run.figures / f"panel-{epoch:04d}.png")

    def _show(self, figures: dict[str, float], epoch: int) -> None:
        for board in self.boards:
            board.row(figures, epoch)
            if self._picture(epoch).exists():
                board.picture(np.asarray(Image.open(self._picture(epoch))), epoch)

    @contextmanager
    def running(self) -> Iterator[dict[str, dict[str, float]]]:
        """Gives a mapping for the final scores, split -> class -> F1; closes the boards, after an error too."""
        scores: dict[str, dict[str, float]] = {}
        try:
            yield scores
        finally:
            for board in self.boards:
                board.close(scores)


def open_boards(
    names: Sequence[str],
    run: RunDirectory,
    identity: dict[str, Any],
    config: dict[str, Any],
    report: Callable[[str], None],
) -> list[Board]:
    """The boards of these names; metrics.csv is written anyway."""
    boards: list[Board] = []
    if "tensorboard" in names:
        boards.append(TensorBoard(run.path / "tensorboard"))
    if "wandb" in names:
        boards.append(Wandb(run, identity, config, report))
    return boards


def wandb_identity(config: TrainConfig, run: str, tracking_id: str) -> dict[str, Any]:
    """What a run of this directory name is called on W&B, as wandb.init takes it: group = all but the seed."""
    t = config.tracking
    return {
        "project": t.project,
        "entity": t.entity,
        "id": tracking_id,
        "name": f"seed {config.seed}",
        "group": run.replace(f"-s{config.seed}-", "-"),
        "tags": [
            config.data.name,
            config.model.architecture,
            f"filter {config.filter.name}",
            *t.tags,
        ],
    }
