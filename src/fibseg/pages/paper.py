"""Figures for print: crops of compared runs, and what the grain filter leaves of a patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fibseg.arrays import Place, UInt8
from fibseg.colors import class_color
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.labels import LabelPair, read_label_pairs
from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.errors import FibsegError
from fibseg.filters.grain import grain_filter
from fibseg.pages.figures import overlay
from fibseg.pages.panels import (
    PRINT_FONT_SIZE,
    Crop,
    add_scale_bar,
    cut,
    panel_grid,
    show_panel,
)
from fibseg.runs.collection import median_run
from fibseg.stack import Stack, read_pages

_PRINT_LABEL_OPACITY = 0.5

_CROP_DRAWS = 200
"""Draws for each crop before a class counts as too rare for a crop of this size."""


def draw_crops(dataset: Dataset, side: int, count: int, seed: int) -> list[Crop]:
    """Draw crops of test slices that hold a class, by a seed.

    Where a second expert annotated slices, crops are of these.

    Raises:
        FibsegError: crops of this size that hold a class are too rare, or labels are missing.
    """
    generator = np.random.default_rng(seed)
    classes = len(dataset.foreground)
    # Every run was scored against the same truth, so that the first one gives it.
    truths = [truth for truth, _ in read_label_pairs(dataset.runs[0])]
    positions = list(range(len(dataset.places)))
    if dataset.second_expert is not None:
        positions = [dataset.places.index(place) for place in dataset.second_expert.places]
    crops: list[Crop] = []
    # Draws are bounded: a class may be so rare that hardly any crop of this size holds it.
    for _ in range(_CROP_DRAWS * count):
        position = int(generator.choice(positions))
        height, width = truths[position].shape
        # A slice smaller than the crop gives row 0; `cut` then says that the crop leaves it.
        row = int(generator.integers(max(1, height - side + 1)))
        column = int(generator.integers(max(1, width - side + 1)))
        part = truths[position][row : row + side, column : column + side]
        # Not background, and not 255 for unannotated.
        holds_class = ((part > 0) & (part <= classes)).any()
        if holds_class:
            crops.append(Crop(*dataset.places[position], row, column))
        if len(crops) == count:
            return crops
    raise FibsegError(
        f"--side {side}: fewer than {count} crops of test slices hold a class; "
        "give a larger --side, or crops by --crop."
    )


def comparison_figure(dataset: Dataset, crops: Sequence[Crop], side: int, width: float) -> Figure:
    """Figure 3 of Meyer et al., ISBI 2021: crops of test slices, a row each.

    Columns are the image, the truth, the second expert where there is one, and the median run by
    validation of each configuration.

    Args:
        dataset: runs of one data set.
        crops: parts of test slices.
        side: height and width of a crop, in pixels.
        width: of the figure, in mm.

    Raises:
        FibsegError: labels of a run are missing, or a crop is not on a test slice.
    """
    for crop in crops:
        if crop.place not in dataset.places:
            raise FibsegError(
                f"--crop: slice {crop.z} of volume {crop.volume} is no test slice; "
                f"these are {_listed(dataset.places)}."
            )
    images = read_test_images(dataset)
    methods = {
        # The median run by validation: neither the best nor a failure stands for a method.
        label: read_label_pairs(median_run(runs))
        for label, runs in dataset.configurations.items()
    }
    names = ["image", "truth", *methods]
    if dataset.second_expert is not None:
        names.insert(2, "second expert")
    figure, panels = panel_grid(len(crops), len(names), width)
    for number, (row, crop) in enumerate(zip(panels, crops, strict=True)):
        image = images[dataset.places.index(crop.place)]
        layers = _layers_of(dataset, crop.place, methods)
        for axes, name in zip(row, names, strict=True):
            # Columns are named once, above the first row.
            title = name if number == 0 else ""
            picture = None
            if name in layers:
                picture = cut(overlay(image, layers[name], _PRINT_LABEL_OPACITY), crop, side)
            show_panel(axes, picture, title)
        row[0].set_ylabel(
            f"slice {crop.z}, {crop.row}, {crop.column}", fontsize=PRINT_FONT_SIZE - 1
        )
    facts = dataset.volumes(dataset.runs[0])
    if facts is not None:
        # One bar for all, as every crop has the same side; the last number is the width of a pixel.
        add_scale_bar(panels[0][0], side, facts.voxel_sizes[crops[0].volume][2])
    _add_class_legend(figure, dataset.foreground)
    return figure


def _layers_of(
    dataset: Dataset, place: Place, methods: Mapping[str, Sequence[LabelPair]]
) -> dict[str, UInt8]:
    """Labels (H, W) of one slice by the column that shows them; the image's own are empty."""
    position = dataset.places.index(place)
    # All methods have the same truth.
    truth = next(iter(methods.values()))[position][0]
    layers = {"image": np.zeros_like(truth), "truth": truth}
    for label, pairs in methods.items():
        layers[label] = pairs[position][1]
    expert = dataset.second_expert
    if expert is not None and place in expert.places:
        layers["second expert"] = expert.labels[expert.places.index(place)]
    return layers


def _add_class_legend(figure: Figure, foreground: Sequence[str]) -> None:
    patches = [
        Patch(color=class_color(index), label=name) for index, name in enumerate(foreground, 1)
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=len(patches),
        frameon=False,
        fontsize=PRINT_FONT_SIZE,
    )


def filter_figure(
    stack: Stack, crop: Crop, side: int, areas: Sequence[int], width: float
) -> Figure:
    """Figure 2 of Meyer et al., ISBI 2021: a patch, and what the grain filter leaves of it.

    Args:
        stack: grey values.
        crop: where the patch begins; its volume plays no part.
        side: height and width of the patch, in pixels.
        areas: of the grain filter, in pixels; a panel each.
        width: of the figure, in mm.

    Raises:
        FibsegError: the crop leaves the stack.
    """
    if not 0 <= crop.z < stack.shape[0]:
        raise FibsegError(
            f"--crop: slice {crop.z}; {stack.name} has slices 0 to {stack.shape[0] - 1}."
        )
    image = stack.read(crop.z)
    # The default percentiles of a data description; a stack alone has no training slices.
    image = to_8bit(image, grey_range([image], IntensityDescription(0.1, 99.9)))
    # The whole slice is filtered, as in training: a grain may reach beyond the patch.
    pictures = [image, *grain_filter(image, areas)]
    titles = ["image", *(f"λ = {area}" for area in areas)]
    figure, panels = panel_grid(1, len(pictures), width)
    for axes, picture, title in zip(panels[0], pictures, titles, strict=True):
        # Grey to RGB: matplotlib would stretch the grey values of each panel by themselves.
        part = cut(picture, crop, side)
        show_panel(axes, np.repeat(part[..., None], 3, axis=2), title)
    if stack.voxel_size:
        add_scale_bar(panels[0][0], side, stack.voxel_size[2])
    return figure


def read_test_images(dataset: Dataset) -> list[UInt8]:
    """8-bit images (H, W) of the test slices, from truth/ beside the runs.

    Raises:
        FibsegError: the file is missing, damaged or of other slices.
    """
    path = dataset.truth_folder / "test-images.tif"
    try:
        images = read_pages(path)
    except (OSError, ValueError) as error:
        raise FibsegError(
            f"{path}: missing or damaged ({error}), but the figure shows these images."
        ) from error
    if len(images) != len(dataset.places):
        raise FibsegError(f"{path}: {len(images)} images for {len(dataset.places)} test slices.")
    return images


def _listed(places: Sequence[Place]) -> str:
    """The first slices of a data set, for a sentence."""
    listed = ", ".join(f"{place.z} of volume {place.volume}" for place in places[:5])
    return f"{listed} and more" if len(places) > 5 else listed
