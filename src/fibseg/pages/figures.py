"""Pictures of one run: slices with truth and prediction, and learning curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fibseg.arrays import IGNORE, UInt8
from fibseg.colors import class_color
from fibseg.files import write_whole

_IGNORED_BRIGHTNESS = 0.3
"""What unannotated pixels keep of their brightness."""

_SCREEN_DOTS = 110
"""Resolution of the pictures, in dots per inch."""


class PanelRow(NamedTuple):
    """A slice with its labels: image, truth and prediction are (H, W)."""

    title: str
    image: UInt8
    truth: UInt8
    prediction: UInt8


def overlay(image: UInt8, labels: UInt8, opacity: float) -> UInt8:
    """Lay class indices (H, W) over an image (H, W): gives (H, W, 3).

    Background stays grey, and unannotated pixels become dark.
    """
    # Floats, because opacity mixes them; bytes would be cut off at each step.
    colored = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for index in np.unique(labels).tolist():
        is_class = labels == index
        if index == IGNORE:
            colored[is_class] *= _IGNORED_BRIGHTNESS
        # Index 0 is background, which stays as the image is.
        elif index > 0:
            color = 255 * np.array(class_color(index), np.float32)
            colored[is_class] = (1 - opacity) * colored[is_class] + opacity * color
    return colored.round().astype(np.uint8)


def save_panels(
    path: Path,
    rows: Sequence[tuple[str, UInt8, UInt8, UInt8]],
    class_names: Sequence[str],
    opacity: float = 0.5,
) -> None:
    """Save a picture with a row of image, truth and prediction for each slice.

    Args:
        path: the picture to write; its ending names the format.
        rows: title, image, truth and prediction of each slice, all (H, W); see `PanelRow`.
        class_names: background first; the others are in the legend.
        opacity: of the labels over the image.
    """
    # Figure and not pyplot, which keeps every figure until it is closed. Places are given, since a
    # layout that matplotlib works out draws everything twice.
    height = 4.1 * len(rows) + 0.4
    figure = Figure(figsize=(12, height))
    panels = figure.subplots(
        len(rows),
        3,
        squeeze=False,
        gridspec_kw={
            "left": 0.005,
            "right": 0.995,
            "bottom": 0.4 / height,
            "top": 1 - 0.3 / height,
            "wspace": 0.02,
            "hspace": 0.08,
        },
    )
    for axes, row in zip(panels, rows, strict=True):
        _draw_panel_row(axes, PanelRow(*row), opacity)
    patches = [
        Patch(color=class_color(index), label=name)
        for index, name in enumerate(class_names)
        if index > 0
    ]
    columns = max(1, len(patches))
    figure.legend(handles=patches, loc="lower center", ncols=columns, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write a picture; its ending names the format."""
    # In memory first: Pillow hides that a disk is full behind the number of an error of its own.
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."), dpi=_SCREEN_DOTS)
    write_whole(path, picture.getvalue())


def _draw_panel_row(panels: Sequence[Axes], row: PanelRow, opacity: float) -> None:
    pictures = [
        (row.title, overlay(row.image, np.zeros_like(row.truth), 0)),
        ("truth", overlay(row.image, row.truth, opacity)),
        ("prediction", overlay(row.image, row.prediction, opacity)),
    ]
    # A small slice is enlarged, and its pixels are shown as they are.
    interpolation = "nearest" if max(row.image.shape) < 300 else "antialiased"
    for axes, (title, picture) in zip(panels, pictures, strict=True):
        axes.imshow(picture, interpolation=interpolation)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()


def save_curves(path: Path, metrics: Path, class_names: Sequence[str]) -> None:
    """Save the losses over the epochs, and the F1 of the validation patches of each class.

    Args:
        path: the picture to write; its ending names the format.
        metrics: metrics.csv of the run.
        class_names: background first.
    """
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # metrics.csv counts epochs from 0, people from 1.
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure = Figure(figsize=(10, 3.6))
    places = {"left": 0.07, "right": 0.985, "bottom": 0.13, "top": 0.91, "wspace": 0.12}
    loss_axes, f1_axes = figure.subplots(1, 2, gridspec_kw=places)
    for column, style in (("train_loss", "--"), ("val_loss", "-")):
        losses = [float(row[column]) for row in rows]
        loss_axes.plot(epochs, losses, style, color="black", label=column.replace("_", " "))
    for index, name in enumerate(class_names):
        if index > 0:
            scores = [float(row[f"val_f1_{name}"]) for row in rows]
            f1_axes.plot(epochs, scores, color=class_color(index), label=name)
    for axes, title in ((loss_axes, "loss"), (f1_axes, "F1 of the validation patches")):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False)
    _save(figure, path)
