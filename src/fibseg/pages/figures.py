"""Pictures of a run: slices with truth and prediction, and learning curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fibseg.arrays import IGNORE

UInt8 = NDArray[np.uint8]

COLORS = colormaps["tab10"].colors  # type: ignore[attr-defined]
"""Of the foreground classes, in order."""


def class_color(index: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of a foreground class."""
    red, green, blue = COLORS[(index - 1) % len(COLORS)]
    return red, green, blue


def overlay(image: UInt8, labels: UInt8, opacity: float) -> UInt8:
    """(H, W) image and class indices -> (H, W, 3) uint8; background stays grey, ignored pixels become dark."""
    colored = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for index in np.unique(labels).tolist():
        if index == IGNORE:
            colored[labels == index] *= 0.3
        elif index > 0:
            color = 255 * np.array(class_color(index), np.float32)
            colored[labels == index] = (1 - opacity) * colored[labels == index] + opacity * color
    return colored.round().astype(np.uint8)


def save_panels(
    path: Path,
    rows: Sequence[tuple[str, UInt8, UInt8, UInt8]],
    class_names: Sequence[str],
    opacity: float = 0.5,
) -> None:
    """One row per slice (title, image, truth, prediction), three columns, and a legend of the classes."""
    figure = Figure(figsize=(12, 4.1 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, (title, image, truth, prediction) in zip(axes, rows, strict=True):
        pictures = (
            overlay(image, truth * 0, 0),
            overlay(image, truth, opacity),
            overlay(image, prediction, opacity),
        )
        for axis, picture, name in zip(line, pictures, (title, "truth", "prediction"), strict=True):
            axis.imshow(
                picture, interpolation="nearest" if max(image.shape) < 300 else "antialiased"
            )
            axis.set_title(name, fontsize=10)
            axis.set_axis_off()
    patches = [
        Patch(color=class_color(k), label=name) for k, name in enumerate(class_names) if k > 0
    ]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=max(1, len(patches)), frameon=False
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def save_curves(path: Path, metrics: Path, class_names: Sequence[str]) -> None:
    """Losses, and F1 of the validation patches per class, over the epochs in metrics.csv."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, style in (("train_loss", "--"), ("val_loss", "-")):
        left.plot(
            epochs,
            [float(row[name]) for row in rows],
            style,
            color="black",
            label=name.replace("_", " "),
        )
    for index, name in enumerate(class_names):
        if index > 0:
            scores = [float(row[f"val_f1_{name}"]) for row in rows]
            right.plot(epochs, scores, color=class_color(index), label=name)
    for axis, title in ((left, "loss"), (right, "F1 of the validation patches")):
        axis.set_xlabel("epoch")
        axis.set_title(title, fontsize=10)
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
