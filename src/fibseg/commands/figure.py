"""`fibseg figure`: figures for a paper, as PDF and PNG."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.errors import FibsegError
from fibseg.filters.grain import grain_filter
from fibseg.pages.paper import Crop, crop, draw, grid, panels, scale_bar, show, write_figure
from fibseg.runs.collection import collect
from fibseg.stack import open_stack


def slices(options: argparse.Namespace) -> None:
    """Figure 3 of Meyer et al., ISBI 2021: crops of test slices, a row each; image, truth, second expert, methods."""
    found = collect(options.runs)
    if len(found.data_sets()) != 1:
        raise FibsegError(
            f"{len(found.data_sets())} data sets among the finished runs; a figure shows one."
        )
    (runs,) = found.data_sets()
    check_sizes(options, count=options.count)
    crops = [crop_of(one) for one in options.crop] or draw(
        runs, options.side, options.count, options.seed
    )
    write_figure(panels(runs, crops, options.side, options.width), options.output)


def filtered(options: argparse.Namespace) -> None:
    """Figure 2: a patch, and what the grain filter leaves of it for each area."""
    check_sizes(options)
    stack, (_, z, row, column) = open_stack(options.image), crop_of(options.crop)
    if not 0 <= z < stack.shape[0]:
        raise FibsegError(f"--crop: slice {z}; {stack.name} has slices 0 to {stack.shape[0] - 1}.")
    image = stack.read(z)
    image = to_8bit(image, grey_range([image], IntensityDescription(0.1, 99.9)))
    pictures = [
        image,
        *grain_filter(image, options.area),
    ]  # of the whole slice: a grain may leave the patch
    parts = [crop(one, row, column, options.side) for one in pictures]
    titles = ["image", *(f"λ = {area}" for area in options.area)]
    figure, axes = grid(1, len(parts), options.width)
    for axis, part, title in zip(axes[0], parts, titles, strict=True):
        show(axis, np.repeat(part[..., None], 3, axis=2), title)
    if stack.voxel_size:
        scale_bar(axes[0][0], options.side, stack.voxel_size[2])
    write_figure(figure, options.output)


def check_sizes(options: argparse.Namespace, **numbers: int) -> None:
    """FibsegError for numbers that mean nothing."""
    for name, value in {"side": options.side, "width": options.width, **numbers}.items():
        if not value > 0:
            raise FibsegError(f"--{name}: {value}; expected more than 0.")


def crop_of(numbers: Sequence[int]) -> Crop:
    """From z, y, x of the first volume, or volume, z, y, x."""
    volume, z, row, column = [0, *numbers] if len(numbers) == 3 else numbers
    return volume, z, row, column
