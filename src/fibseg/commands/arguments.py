"""Command-line arguments that several commands read, and their types."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fibseg.errors import FibsegError
from fibseg.rules import CLASS_NAME, Check, require


def whole_numbers(text: str) -> list[int]:
    """Whole numbers with commas between them.

    >>> whole_numbers("650,3200")
    [650, 3200]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        # argparse adds the name of the option, and prints the text as it is only for this error.
        raise argparse.ArgumentTypeError(
            f"{text}: expected whole numbers, with commas between them"
        ) from None


def pixel_offset(text: str) -> list[int]:
    """A place in a stack, in pixels, as z,y,x.

    >>> pixel_offset("10,9,7")
    [10, 9, 7]
    """
    numbers = whole_numbers(text)
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three numbers, z,y,x")
    return numbers


def add_offset(parser: argparse.ArgumentParser) -> None:
    """Declare `--offset`, where labels start in their image."""
    parser.add_argument(
        "--offset",
        type=pixel_offset,
        metavar="Z,Y,X",
        help="where the labels start in the image, in pixels",
    )


def nanometre_sizes(text: str) -> list[float]:
    """The size of a voxel in nm, as z,y,x.

    >>> nanometre_sizes("20,5,4.5")
    [20.0, 5.0, 4.5]
    """
    parts = text.split(",")
    try:
        sizes = [float(part) for part in parts]
    except ValueError:
        # A text that is no number gets the message of a wrong count below.
        sizes = []
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three numbers, z,y,x")
    return sizes


def crop_corner(text: str) -> list[int]:
    """The first pixel of a crop, as z,y,x in the first volume or as volume,z,y,x.

    >>> crop_corner("7,100,200")
    [7, 100, 200]
    """
    numbers = whole_numbers(text)
    if len(numbers) not in (3, 4):
        raise argparse.ArgumentTypeError(f"{text}: expected z,y,x or volume,z,y,x")
    return numbers


def parse_classes(entries: Sequence[str] | None) -> dict[str, list[int]]:
    """Class -> label values, from the texts of `--class`.

    Raises:
        FibsegError: a text is not NAME=VALUE or NAME=VALUE,VALUE.

    >>> parse_classes(["mitochondrion=1", "er=3,4"])
    {'mitochondrion': [1], 'er': [3, 4]}
    """
    values_of_class: dict[str, list[int]] = {}
    for entry in entries or []:
        name, _, values = entry.partition("=")
        try:
            numbers = [int(value) for value in values.split(",")]
        except ValueError:
            raise FibsegError(
                f"--class {entry}: expected NAME=VALUE, as mitochondrion=1 or er=3,4."
            ) from None
        # A class may be given twice, as --class er=3 --class er=4.
        values_of_class.setdefault(name.strip(), []).extend(numbers)
    require(*(Check("--class", name, CLASS_NAME) for name in values_of_class if name))
    return values_of_class
