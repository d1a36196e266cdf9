"""`fibseg figure`: figures for a paper, from runs that were compared, or of the grain filter; PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from rich.console import Console

from fibseg.comparison.labels import expert_labels, labels_of, truth_of, volume_facts
from fibseg.errors import FibsegError
from fibseg.pages.figures import class_color, overlay
from fibseg.runs.collection import FinishedRun, configurations, median_run
from fibseg.stack import read_pages

Labels = NDArray[np.uint8]
Crop = tuple[int, int, int, int]
"""Volume, slice, first row, first column."""

DOTS, OPACITY, TRIES = 300, 0.5, 200
FONT = 7
"""Dots per inch of the PNG, opacity of a label, draws of a crop, points of the letters."""


def draw(runs: Sequence[FinishedRun], side: int, count: int, seed: int) -> list[Crop]:
    """Crops of test slices that hold a class, by a seed; where a second expert looked, from those slices.

    Raises:
        FibsegError: no crop of this size holds a class.
    """
    run, generator = runs[0], np.random.default_rng(seed)
    places, truths = run.places["test"], [truth for truth, _ in labels_of(run)]
    expert = expert_labels(runs)
    among = (
        list(range(len(places))) if expert is None else [places.index(place) for place in expert]
    )
    crops: list[Crop] = []
    for _ in range(TRIES * count):
        k = int(generator.choice(among))
        room = [max(1, size - side + 1) for size in truths[k].shape]
        row, column = (int(generator.integers(one)) for one in room)
        part = truths[k][row : row + side, column : column + side]
        if len(crops) < count and ((part > 0) & (part < len(run.names))).any():
            crops.append((*places[k], row, column))
    if len(crops) < count:
        raise FibsegError(f"--side {side}: no {count} crops of test slices hold a class.")
    return crops


def panels(runs: Sequence[FinishedRun], crops: Sequence[Crop], side: int, width: float) -> Figure:
    """The figure: a row per crop, a column for the image, the truth, each configuration's median run by validation.

    Args:
        runs: of one data set.
        crops: on test slices.
        side: of a crop, in pixels.
        width: of the figure, in mm.

    Raises:
        FibsegError: labels of a run are missing, or a crop is not on a test slice.
    """
    places, expert = runs[0].places["test"], expert_labels(runs)
    for volume, z, *_ in crops:
        if (volume, z) not in places:
            raise FibsegError(
                f"--crop: slice {z} of volume {volume} is no test slice; these are {brief(places)}."
            )
    images = test_images(runs)
    methods = {label: labels_of(median_run(own)) for label, own in configurations(runs).items()}
    truths = [truth for truth, _ in next(iter(methods.values()))]
    names = ["image", "truth", *(["second expert"] if expert else []), *methods]
    figure, axes = grid(len(crops), len(names), width)
    for number, (line, (volume, z, row, column)) in enumerate(zip(axes, crops, strict=True)):
        k = places.index((volume, z))
        others = {name: pairs[k][1] for name, pairs in methods.items()}
        if expert and (volume, z) in expert:
            others["second expert"] = expert[volume, z]
        layers = {"image": truths[k] * 0, "truth": truths[k], **others}
        for axis, name in zip(line, names, strict=True):
            title = name if number == 0 else ""
            if name in layers:
                picture = overlay(images[k], layers[name], OPACITY)
                show(axis, crop(picture, row, column, side), title)
            else:
                show(axis, None, title)
        line[0].set_ylabel(f"slice {z}, {row}, {column}", fontsize=FONT - 1)
    facts = volume_facts(runs[0])
    if facts is not None:
        scale_bar(axes[0][0], side, facts.voxel_sizes[crops[0][0]][2])
    patches = [
        Patch(color=class_color(k), label=name) for k, name in enumerate(runs[0].names) if k > 0
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=len(patches),
        frameon=False,
        fontsize=FONT,
    )
    return figure


def test_images(runs: Sequence[FinishedRun]) -> list[Labels]:
    """8-bit images of the test slices, from truth/ beside the runs."""
    path = truth_of(runs) / "test-images.tif"
    try:
        images = read_pages(path)
    except (OSError, ValueError) as error:
        raise FibsegError(f"{path}: missing or damaged ({error}).") from error
    if len(images) != len(runs[0].places["test"]):
        raise FibsegError(
            f"{path}: {len(images)} images for {len(runs[0].places['test'])} test slices."
        )
    return images


def brief(places: Sequence[tuple[int, int]]) -> str:
    """The slices of a sentence."""
    return ", ".join(f"{z} of volume {volume}" for volume, z in places[:5]) + (
        " and more" if len(places) > 5 else ""
    )


def crop(picture: NDArray[np.uint8], row: int, column: int, side: int) -> NDArray[np.uint8]:
    """A square of a picture (H, W, ...); FibsegError where it leaves the picture."""
    height, width = picture.shape[:2]
    if not (0 <= row <= height - side and 0 <= column <= width - side):
        raise FibsegError(
            f"--crop {row},{column} with --side {side} leaves the slice of {height} x {width} pixels."
        )
    return picture[row : row + side, column : column + side]


def grid(rows: int, columns: int, width: float) -> tuple[Figure, list[list[Axes]]]:
    """Square panels over a width in mm."""
    inches = width / 25.4
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(inches, rows * inches / columns + 0.45), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(line) for line in axes]


def show(axis: Axes, picture: NDArray[np.uint8] | None, title: str) -> None:
    """A panel without ticks; an empty one where there is no picture."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=FONT)
    if picture is None:
        axis.set_frame_on(False)
    else:
        axis.imshow(picture, interpolation="none")


def scale_bar(axis: Axes, side: int, nanometres: float) -> None:
    """A white bar of a round length near a quarter of the panel, with its length."""
    quarter = side * nanometres / 4
    power = 10.0 ** np.floor(np.log10(quarter))
    length = power * max(step for step in (1, 2, 5) if step * power <= quarter)
    pixels = length / nanometres
    edge = withStroke(linewidth=1.5, foreground="black")  # to be seen on bright and dark
    bar = Rectangle(
        (0.05 * side, 0.92 * side), pixels, 0.02 * side, color="white", path_effects=[edge]
    )
    axis.add_patch(bar)
    text = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    axis.text(
        0.05 * side,
        0.9 * side,
        text,
        color="white",
        fontsize=FONT - 1,
        va="bottom",
        path_effects=[edge],
    )


def write_figure(figure: Figure, name: str) -> None:
    """As NAME.pdf and NAME.png, for print."""
    stem = Path(name)
    stem = stem.with_suffix("") if stem.suffix.lower() in (".pdf", ".png") else stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in ("pdf", "png")]
    for path in paths:
        figure.savefig(path, dpi=DOTS)
    Console().print(f"{paths[0]}, {paths[1]}", markup=False, highlight=False, soft_wrap=True)
