"""`fibseg figure`: figures for a paper, as PDF and PNG."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fibseg.commands.arguments import crop_corner
from fibseg.comparison.dataset import datasets_of
from fibseg.errors import FibsegError
from fibseg.machine import plain_console, print_line
from fibseg.pages.panels import Crop, write_figure
from fibseg.pages.paper import comparison_figure, draw_crops, filter_figure
from fibseg.runs.collection import collect
from fibseg.stack import open_stack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fibseg figure slices` and `fibseg figure filter`."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    of_slices = kinds.add_parser(
        "slices", help="crops of test slices: image, truth, second expert, every method"
    )
    of_slices.add_argument(
        "runs", nargs="+", help="run directories, or folders of them, of one data set"
    )
    of_slices.add_argument(
        "--crop",
        type=crop_corner,
        action="append",
        default=[],
        metavar="Z,Y,X",
        help="first pixel of the crop of a row; repeat it for several rows",
    )
    of_slices.add_argument(
        "--count",
        type=int,
        default=3,
        metavar="ROWS",
        help="number of rows that are drawn at random without --crop",
    )
    of_slices.add_argument(
        "--seed", type=int, default=0, help="seed of the rows that are drawn at random"
    )
    _add_sizes(of_slices, side=500)
    # The function to call travels with the options, so that `run` needs no list of kinds.
    of_slices.set_defaults(draw=draw_slices_figure)
    of_filter = kinds.add_parser("filter", help="a patch, and its versions by the grain filter")
    of_filter.add_argument("image", help="stack of grey values")
    of_filter.add_argument(
        "--crop", type=crop_corner, required=True, metavar="Z,Y,X", help="first pixel of the patch"
    )
    of_filter.add_argument(
        "--area",
        type=int,
        action="append",
        required=True,
        metavar="PIXELS",
        help="remove grains smaller than this; repeat it for several areas",
    )
    _add_sizes(of_filter, side=256)
    of_filter.set_defaults(draw=draw_filter_figure)


def _add_sizes(parser: argparse.ArgumentParser, side: int) -> None:
    parser.add_argument(
        "--side", type=int, default=side, metavar="PIXELS", help=f"side of a crop (default: {side})"
    )
    parser.add_argument(
        "--width", type=float, default=183, metavar="MM", help="width of the figure (default: 183)"
    )
    parser.add_argument(
        "--output", required=True, metavar="NAME", help="write NAME.pdf and NAME.png"
    )


def run(options: argparse.Namespace) -> None:
    """Draw the figure, write it, and print the names of its files."""
    options.draw(options)


def draw_slices_figure(options: argparse.Namespace) -> None:
    """Draw crops of the test slices of one data set."""
    datasets = datasets_of(collect(options.runs))
    if len(datasets) != 1:
        raise FibsegError(
            f"{len(datasets)} data sets among the finished runs; a figure shows one: "
            "name the runs of one data set."
        )
    _check_positive(side=options.side, width=options.width, count=options.count)
    crops = [crop_of(numbers) for numbers in options.crop]
    if not crops:
        crops = draw_crops(datasets[0], options.side, options.count, options.seed)
    figure = comparison_figure(datasets[0], crops, options.side, options.width)
    _print_paths(write_figure(figure, options.output))


def draw_filter_figure(options: argparse.Namespace) -> None:
    """Draw a patch and its filtered versions."""
    _check_positive(side=options.side, width=options.width)
    figure = filter_figure(
        open_stack(options.image),
        crop=crop_of(options.crop),
        side=options.side,
        areas=options.area,
        width=options.width,
    )
    _print_paths(write_figure(figure, options.output))


def _check_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        # Not `value <= 0`, which lets NaN pass.
        if not value > 0:
            raise FibsegError(f"--{name}: {value}; expected more than 0.")


def _print_paths(paths: Sequence[object]) -> None:
    text = ", ".join(map(str, paths))
    print_line(plain_console(), text)


def crop_of(numbers: Sequence[int]) -> Crop:
    """A crop from z, y, x of the first volume, or from volume, z, y, x.

    >>> crop_of([7, 100, 200])
    Crop(volume=0, z=7, row=100, column=200)
    """
    volume, z, row, column = [0, *numbers] if len(numbers) == 3 else numbers
    return Crop(volume, z, row, column)
