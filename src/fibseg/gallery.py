"""Slices of a comparison to look at: image, truth, one run of each configuration, and where the seeds disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fibseg import IGNORE
from fibseg.comparison import Run, configurations
from fibseg.figures import class_color
from fibseg.runs import RunDirectory
from fibseg.stack import read_pages

UInt8 = NDArray[np.uint8]
SLICES, SIDE, OPACITY = 6, 640, 140
"""How many, their largest side in pixels, and the alpha of a label."""


@dataclass(frozen=True)
class Picture:
    """One slice: its place, the grey image, and layers by name, as data URLs."""

    place: tuple[int, int]
    image: str
    layers: dict[str, str] = field(default_factory=dict)


def gallery(runs: Sequence[Run]) -> list[Picture]:
    """Six test slices of one data set; empty where the runs' folder has no truth/ beside it."""
    places = runs[0].places["test"]
    truth = runs[0].path.parent / "truth" / runs[0].data_hash
    try:
        images, labels = (read_pages(truth / f"test-{kind}.tif") for kind in ("images", "labels"))
    except (OSError, ValueError):
        return []
    if len(images) != len(places) or len(labels) != len(places):
        return []
    shown = sorted({round(k * (len(places) - 1) / max(1, SLICES - 1)) for k in range(SLICES)})
    pictures = [Picture(places[k], _url(_smaller(images[k], Image.Resampling.BOX), "JPEG")) for k in shown]
    for picture, k in zip(pictures, shown, strict=True):
        picture.layers["truth"] = _layer(labels[k])
    for label, own in configurations(runs).items():
        predicted = {run.path: found for run in own if (found := _labels(run, len(places)))}
        if not predicted:
            continue
        median = sorted((run for run in own if run.path in predicted), key=lambda run: run.validation_sum)
        chosen = median[len(median) // 2]
        for picture, k in zip(pictures, shown, strict=True):
            picture.layers[f"{label}, seed {chosen.seed}"] = _layer(predicted[chosen.path][k])
            if len(predicted) > 1:
                every = np.stack([_smaller(found[k]) for found in predicted.values()])
                picture.layers[f"{label}: seeds disagree"] = _heat(every, len(runs[0].names))
    return pictures


def _labels(run: Run, count: int) -> list[UInt8]:
    try:
        found = read_pages(RunDirectory(run.path).labels("test"))
    except (OSError, ValueError):
        return []
    return found if len(found) == count else []


def _smaller(pixels: UInt8, how: Image.Resampling = Image.Resampling.NEAREST) -> UInt8:
    factor = min(1.0, SIDE / max(pixels.shape))
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))


def _layer(labels: UInt8) -> str:
    """Class indices as a transparent picture; what nobody looked at is dark."""
    small = _smaller(labels)
    table = np.zeros((256, 4), np.uint8)
    for index in range(1, IGNORE):
        table[index] = [*(round(255 * part) for part in class_color(index)), OPACITY]
    table[IGNORE] = [0, 0, 0, 120]
    return _url(table[small], "PNG")


def _heat(every: UInt8, classes: int) -> str:
    """Share of runs (R, h, w) that do not agree with the most frequent class: clear to red."""
    most = np.max([(every == k).sum(axis=0) for k in range(classes)], axis=0)
    shares = 1 - most / len(every)
    heat = np.zeros((*shares.shape, 4), np.uint8)
    heat[..., 0], heat[..., 3] = 255, np.rint(255 * np.clip(shares * 2, 0, 1))
    return _url(heat, "PNG")


def _url(pixels: NDArray[Any], kind: str) -> str:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    if kind == "PNG" and pixels.shape[-1] == 4 and len(np.unique(pixels.reshape(-1, 4), axis=0)) < 200:
        picture = picture.quantize(200, method=Image.Quantize.FASTOCTREE)
    picture.save(buffer, kind, **({"quality": 80} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
