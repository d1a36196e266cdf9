"""Slices of a comparison as pictures in layers: image, truth, runs, and where seeds disagree."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fibseg.arrays import IGNORE, Floats, Ints, Place, UInt8
from fibseg.colors import class_color
from fibseg.comparison.dataset import Dataset
from fibseg.pages.assets import embedded_json
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
        f1: test F1 on it, mean over classes and runs; NaN without a class.
        image: the grey image, as a data URL.
        layers: name -> transparent picture of the same size, as a data URL.
    """

    place: Place
    f1: float
    image: str
    layers: dict[str, str] = field(default_factory=dict)


def gallery(dataset: Dataset) -> list[GalleryPicture]:
    """Pictures of six test slices of a data set, from the worst to the best.

    Empty where no truth/ lies beside the runs.
    """
    count = len(dataset.places)
    f1 = dataset.f1_of_slices
    # Evenly over the ranks, since the worst alone would say less of the runs; NaN sorts last.
    # Slices without a class are shown only where there are no others.
    ranked = np.argsort(f1, kind="stable")
    held = int(np.isfinite(f1).sum()) or count
    positions = [int(ranked[rank]) for rank in _spread_positions(held)]
    images = _read_some_pages(dataset.truth_folder / "test-images.tif", count, positions)
    truths = _read_some_pages(dataset.truth_folder / "test-labels.tif", count, positions)
    # Runs may have been copied without truth/; the page is then made without a gallery.
    if not images or not truths:
        return []
    pictures = [
        GalleryPicture(
            dataset.places[position],
            float(f1[position]),
            _grey_url(_reduced(image, Image.Resampling.BOX)),
            {"truth": _label_url(_reduced(truth))},
        )
        for position, image, truth in zip(positions, images, truths, strict=True)
    ]
    reduced = [_reduced(truth) for truth in truths]
    for label, runs in dataset.configurations.items():
        _add_configuration(pictures, label, runs, positions=positions, truths=reduced)
    return pictures


def _add_configuration(
    pictures: Sequence[GalleryPicture],
    label: str,
    runs: Sequence[FinishedRun],
    positions: Sequence[int],
    truths: Sequence[UInt8],
) -> None:
    """Add the median run, its errors, and where runs disagree, to each picture.

    Runs without label files are passed over.
    """
    count = len(runs[0].places["test"])
    classes = len(runs[0].class_names)
    labelled = []
    # Votes and not the labels of all runs, which would be the largest part of the memory.
    votes = [np.zeros((classes, *truth.shape), np.uint16) for truth in truths]
    for run in runs:
        pages = _read_some_pages(RunDirectory(run.path).labels("test"), count, positions)
        pages = [_reduced(page) for page in pages]
        # Labels of other slices, which were copied here, fit nothing.
        if [page.shape for page in pages] != [truth.shape for truth in truths]:
            continue
        labelled.append(run)
        for of_slice, page in zip(votes, pages, strict=True):
            for index in range(classes):
                of_slice[index] += page == index
    if not labelled:
        return
    # An example in the middle; the best run would promise too much.
    median = median_run(labelled)
    labels = _read_some_pages(RunDirectory(median.path).labels("test"), count, positions)
    for picture, page, truth, of_slice in zip(
        pictures, map(_reduced, labels), truths, votes, strict=True
    ):
        name = f"{label}, seed {median.seed}"
        picture.layers[name] = _label_url(page)
        errors = (page != truth) & (truth != IGNORE)
        picture.layers[f"{name}: errors"] = _red_url(255 * errors)
        if len(labelled) > 1:
            url = _disagreement_url(of_slice, len(labelled))
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


def _disagreement_url(votes: NDArray[np.uint16], runs: int) -> str:
    """Votes (K, h, w) of runs as a picture: red where runs differ from the commonest class."""
    shares = 1 - votes.max(axis=0) / runs
    # With two classes half of the runs can differ at most: that is full red.
    return _red_url(np.rint(255 * np.clip(shares * 2, 0, 1)))


def _red_url(opacity: Floats | Ints) -> str:
    """Red of these opacities (h, w) of 255 as a picture."""
    colors = np.zeros((256, 4), np.uint8)
    colors[:, 0] = 255
    colors[:, 3] = np.arange(256)
    return _palette_url(opacity.astype(np.uint8), colors)


def _palette_url(indices: UInt8, colors: UInt8) -> str:
    """Indices (h, w) and RGBA colors (256, 4) as a PNG, which is small with a palette."""
    # A byte a pixel in place of four, of which PNG compresses large even areas well.
    picture = Image.fromarray(indices)
    picture.putpalette(colors[:, :3].tobytes())
    return _data_url(picture, "PNG", transparency=colors[:, 3].tobytes())


def _data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def gallery_part(pictures: Sequence[GalleryPicture], dataset: Dataset) -> str:
    """Write the gallery as HTML: controls, images over each other, their content for the script.

    Empty without pictures.
    """
    if not pictures:
        return ""
    layers = list(dict.fromkeys(name for picture in pictures for name in picture.layers))
    slices = "".join(
        f'<option value="{k}">volume {picture.place.volume}, slice {picture.place.z}: '
        f"{_f1_text(picture.f1)}</option>"
        for k, picture in enumerate(pictures)
    )
    legend = "".join(
        f'<span class="swatch" style="background:rgb({_css(index)})"></span>{html.escape(name)} '
        for index, name in enumerate(dataset.foreground, 1)
    )
    content = embedded_json(
        [{"image": picture.image, "layers": picture.layers} for picture in pictures]
    )
    return (
        '<h3>Slices</h3><div class="gallery"><div class="controls">'
        f"<label>slice <select>{slices}</select></label>"
        f"<label>left <select>{_layer_options(layers, 0)}</select></label>"
        f"<label>right <select>{_layer_options(layers, 1)}</select></label>"
        '<label>swipe <input type="range" value="50"></label>'
        '<label>zoom <input type="range" min="1" max="6" step=".5" value="1"></label></div>'
        '<p class="note">From the worst slice to the best. One layer is left of the swipe, another '
        "right of it; errors and places where seeds disagree are red.</p>"
        f"<p>{legend}</p>"
        # A keyboard scrolls a part that is zoomed.
        '<div class="scroll" tabindex="0" role="region" aria-label="Slice"><div class="view">'
        '<img alt=""><img class="layer" alt=""><img class="layer" alt=""></div></div>'
        f'<script type="application/json">{content}</script></div>'
    )


def _layer_options(layers: Sequence[str], selected: int) -> str:
    """Options of a choice of layers; the first one shows none of them."""
    # Truth on the left and the first run on the right; without runs, truth on both sides.
    selected_layer = layers[min(selected, len(layers) - 1)]
    options = []
    for layer in ["", *layers]:
        mark = " selected" if layer == selected_layer else ""
        name = html.escape(layer) or "image"
        options.append(f'<option value="{html.escape(layer)}"{mark}>{name}</option>')
    return "".join(options)


def _f1_text(f1: float) -> str:
    return "no class" if math.isnan(f1) else f"mean F1 {f1:.3f}"


def _css(index: int) -> str:
    """Color of a class as CSS writes it, between 0 and 255."""
    return " ".join(str(round(255 * part)) for part in class_color(index))
