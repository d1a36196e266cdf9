"""Slices of a comparison as pictures in layers: image, truth, runs, and where seeds disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fibseg.arrays import IGNORE, Place, UInt8
from fibseg.comparison.dataset import Dataset
from fibseg.pages.figures import class_color
from fibseg.runs.collection import median_run
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import FinishedRun
from fibseg.stack import count_pages, read_pages

_GALLERY_SLICES = 6

GALLERY_SIDE = 640
"""Longest side of a picture in pixels: the page holds all of them, so larger slices are reduced."""

# Of 255: the image stays visible below labels and below unannotated parts.
_LABEL_ALPHA = 140
_IGNORED_ALPHA = 120


@dataclass(frozen=True)
class GalleryPicture:
    """One slice of the gallery.

    Attributes:
        place: where the slice lies.
        image: the grey image, as a data URL.
        layers: name -> transparent picture of the same size, as a data URL.
    """

    place: Place
    image: str
    layers: dict[str, str] = field(default_factory=dict)


def gallery(dataset: Dataset) -> list[GalleryPicture]:
    """Pictures of six test slices of a data set; empty where no truth/ lies beside the runs."""
    count = len(dataset.places)
    positions = _spread_positions(count)
    images = _read_some_pages(dataset.truth_folder / "test-images.tif", count, positions)
    truths = _read_some_pages(dataset.truth_folder / "test-labels.tif", count, positions)
    # Runs may have been copied without truth/; the page is then made without a gallery.
    if not images or not truths:
        return []
    pictures = [
        GalleryPicture(
            dataset.places[position],
            _grey_url(_reduced(image, Image.Resampling.BOX)),
            {"truth": _label_url(_reduced(truth))},
        )
        for position, image, truth in zip(positions, images, truths, strict=True)
    ]
    for label, runs in dataset.configurations.items():
        _add_configuration(pictures, label, runs, positions)
    return pictures


def _add_configuration(
    pictures: Sequence[GalleryPicture],
    label: str,
    runs: Sequence[FinishedRun],
    positions: Sequence[int],
) -> None:
    """Add the median run of a configuration, and where its runs disagree, to each picture.

    Runs without label files are passed over.
    """
    count = len(runs[0].places["test"])
    labels: dict[Path, list[UInt8]] = {}
    for run in runs:
        pages = _read_some_pages(RunDirectory(run.path).labels("test"), count, positions)
        if pages:
            labels[run.path] = [_reduced(page) for page in pages]
    if not labels:
        return
    # An example in the middle; the best run would promise too much.
    median = median_run([run for run in runs if run.path in labels])
    for k, picture in enumerate(pictures):
        picture.layers[f"{label}, seed {median.seed}"] = _label_url(labels[median.path][k])
        if len(labels) > 1:
            of_runs = np.stack([pages[k] for pages in labels.values()])
            url = _disagreement_url(of_runs, len(runs[0].class_names))
            picture.layers[f"{label}: seeds disagree"] = url


def _spread_positions(count: int) -> list[int]:
    """Positions of the gallery's slices among so many, from the first to the last."""
    steps = max(1, _GALLERY_SLICES - 1)
    # A set, since a stack of fewer slices gives some positions twice.
    return sorted({round(k * (count - 1) / steps) for k in range(_GALLERY_SLICES)})


def _read_some_pages(path: Path, count: int, positions: Sequence[int]) -> list[UInt8]:
    """Some of so many pages; none where the file is missing, damaged or of another number."""
    try:
        # A file of other slices would be shown at wrong places.
        return read_pages(path, positions) if count_pages(path) == count else []
    except (OSError, ValueError):
        return []


def _reduced(pixels: UInt8, resampling: Image.Resampling = Image.Resampling.NEAREST) -> UInt8:
    """The slice with its longer side at GALLERY_SIDE or below; labels keep their values."""
    factor = min(1.0, GALLERY_SIDE / max(pixels.shape))
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), resampling))


def _grey_url(image: UInt8) -> str:
    # Noise makes a PNG of the grey values several times larger.
    return _data_url(Image.fromarray(image), "JPEG", quality=80)


def _label_url(labels: UInt8) -> str:
    """Class indices as a transparent picture; unannotated pixels are dark."""
    colors = np.zeros((256, 4), np.uint8)
    # Every index has a color: damaged or foreign labels are shown and do not fail.
    for index in range(1, IGNORE):
        colors[index] = [*(round(255 * channel) for channel in class_color(index)), _LABEL_ALPHA]
    colors[IGNORE] = [0, 0, 0, _IGNORED_ALPHA]
    return _palette_url(labels, colors)


def _disagreement_url(labels: UInt8, classes: int) -> str:
    """Labels (R, h, w) of R runs as a picture: red where runs differ from the commonest class."""
    # The number of runs that agree on the commonest class.
    votes = np.max([(labels == index).sum(axis=0) for index in range(classes)], axis=0)
    shares = 1 - votes / len(labels)
    colors = np.zeros((256, 4), np.uint8)
    colors[:, 0] = 255
    colors[:, 3] = np.arange(256)
    # With two classes half of the runs can differ at most: that is full red.
    alpha = np.rint(255 * np.clip(shares * 2, 0, 1)).astype(np.uint8)
    return _palette_url(alpha, colors)


def _palette_url(indices: UInt8, colors: UInt8) -> str:
    """Indices (h, w) and RGBA colors (256, 4) as a PNG, which is small with a palette."""
    # A byte a pixel in place of four, of which PNG compresses large even areas well.
    picture = Image.fromarray(indices)
    picture.putpalette(colors[:, :3].tobytes())
    return _data_url(picture, "PNG", transparency=colors[:, 3].tobytes(), optimize=True)


def _data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"
