"""Slices of a comparison to look at: image, truth, one run of each configuration, and where the seeds disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fibseg.arrays import IGNORE
from fibseg.comparison.labels import truth_of
from fibseg.pages.figures import class_color
from fibseg.runs.collection import FinishedRun, configurations, median_run
from fibseg.runs.directory import RunDirectory
from fibseg.stack import count_pages, read_pages

UInt8 = NDArray[np.uint8]
SLICES, SIDE, OPACITY = 6, 640, 140
"""How many, their largest side in pixels, and the alpha of a label."""


@dataclass(frozen=True)
class Picture:
    """One slice: its place, the grey image, and layers by name, as data URLs."""

    place: tuple[int, int]
    image: str
    layers: dict[str, str] = field(default_factory=dict)


def gallery(runs: Sequence[FinishedRun]) -> list[Picture]:
    """Six test slices of one data set; empty where the runs' folder has no truth/ beside it."""
    places = runs[0].places["test"]
    truth = truth_of(runs)
    shown = sorted({round(k * (len(places) - 1) / max(1, SLICES - 1)) for k in range(SLICES)})
    images, labels = (
        _pages(truth / f"test-{kind}.tif", len(places), shown) for kind in ("images", "labels")
    )
    if not images or not labels:
        return []
    pictures = [
        Picture(
            places[k],
            _grey(_smaller(image, Image.Resampling.BOX)),
            {"truth": _layer(_smaller(of_truth))},
        )
        for k, image, of_truth in zip(shown, images, labels, strict=True)
    ]
    for label, own in configurations(runs).items():
        paths = {run.path: RunDirectory(run.path).labels("test") for run in own}
        small = {
            path: [_smaller(one) for one in found]
            for path, file in paths.items()
            if (found := _pages(file, len(places), shown))
        }
        if not small:
            continue
        median = median_run([run for run in own if run.path in small])
        for k, picture in enumerate(pictures):
            picture.layers[f"{label}, seed {median.seed}"] = _layer(small[median.path][k])
            if len(small) > 1:
                every = np.stack([found[k] for found in small.values()])
                picture.layers[f"{label}: seeds disagree"] = _heat(every, len(runs[0].names))
    return pictures


def _pages(path: Path, count: int, shown: Sequence[int]) -> list[UInt8]:
    """The shown ones of so many pages; none where the file is missing, damaged or of another number."""
    try:
        return read_pages(path, shown) if count_pages(path) == count else []
    except (OSError, ValueError):
        return []


def _smaller(pixels: UInt8, how: Image.Resampling = Image.Resampling.NEAREST) -> UInt8:
    factor = min(1.0, SIDE / max(pixels.shape))
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))


def _grey(image: UInt8) -> str:
    return _url(Image.fromarray(image), "JPEG", quality=80)


def _layer(labels: UInt8) -> str:
    """Class indices as a transparent picture; what nobody looked at is dark."""
    colors = np.zeros((256, 4), np.uint8)
    for index in range(1, IGNORE):
        colors[index] = [*(round(255 * part) for part in class_color(index)), OPACITY]
    colors[IGNORE] = [0, 0, 0, 120]
    return _palette(labels, colors)


def _heat(every: UInt8, classes: int) -> str:
    """Share of runs (R, h, w) that do not agree with the most frequent class: clear to red."""
    most = np.max([(every == k).sum(axis=0) for k in range(classes)], axis=0)
    shares = 1 - most / len(every)
    colors = np.zeros((256, 4), np.uint8)
    colors[:, 0], colors[:, 3] = 255, np.arange(256)
    return _palette(np.rint(255 * np.clip(shares * 2, 0, 1)).astype(np.uint8), colors)


def _palette(indices: UInt8, colors: UInt8) -> str:
    """(h, w) indices and (256, 4) colors as a PNG."""
    picture = Image.fromarray(indices)
    picture.putpalette(colors[:, :3].tobytes())
    return _url(picture, "PNG", transparency=colors[:, 3].tobytes(), optimize=True)


def _url(picture: Image.Image, kind: str, **how: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
