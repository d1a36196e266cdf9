"""What two trainings are compared by: their weights and their metrics."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from fibseg.models.checkpoints import load_whole


def best_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_whole(run / "checkpoints" / "best.ckpt")["weights"]


def history(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the column that is a time."""
    with (run / "metrics.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "patches_per_second"}
            for row in csv.DictReader(file)
        ]


def same_weights(ours: Path, theirs: Path) -> bool:
    """Bit for bit, those of the best model."""
    first, second = best_weights(ours), best_weights(theirs)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
