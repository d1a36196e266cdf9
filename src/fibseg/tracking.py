"""What a run tells while it trains: metrics.csv, one row per epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from fibseg.runs import write_whole
from fibseg.segmentation import Segmentation


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
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= trainer.global_step]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        assert isinstance(pl_module, Segmentation)
        figures = {name: f"{value:.6g}" for name, value in pl_module.epoch_metrics.items()}
        self._rows.append({"epoch": str(trainer.current_epoch), "step": str(trainer.global_step), **figures})
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self.path, text.getvalue())
