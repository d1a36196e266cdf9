"""Command-line arguments that several commands read, and their types."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from fibseg.data.labels.files import is_prediction
from fibseg.data.labels.reviewed import Reviewed, open_reviewed
from fibseg.data.splits import parse_slices
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


def slice_items(text: str) -> list[str]:
    """Slices with commas between them: positions, or first:stop, or first:stop:step.

    >>> slice_items("8,15,20:24")
    ['8', '15', '20:24']
    """
    return [item.strip() for item in text.split(",")]


def add_annotated_slices(parser: argparse.ArgumentParser) -> None:
    """Declare `--slices`, the slices of labels that a person has annotated."""
    parser.add_argument(
        "--slices",
        type=slice_items,
        metavar="A,B:C",
        help="slices of LABELS that a person annotated or corrected; the rest are left out",
    )


def annotated_slices(path: str, items: Sequence[str] | None, depth: int) -> list[int] | None:
    """Positions of `--slices` in a label file of `depth` slices; None for all of them.

    Raises:
        FibsegError: the file is a prediction, and nobody says which slices were corrected.
    """
    if items is not None:
        return sorted(set(parse_slices(items, depth, "--slices")))
    if is_prediction(path):
        raise FibsegError(
            f"{path}: a prediction of fibseg and no annotation; name the slices that a person has "
            "corrected, as --slices 8,15, and only those are taken."
        )
    return None


def add_reviewed(parser: argparse.ArgumentParser, stack: str) -> None:
    """Declare `--reviewed`, where a person has looked, in pixels of `stack`."""
    parser.add_argument(
        "--reviewed",
        metavar="FILE",
        help=f"where a person has looked: a mask of the shape of {stack}, or a CSV file of a "
        "shapes layer of napari; what is unpainted inside is background, and labels outside are "
        "ignored",
    )


def open_region(path: str | None, shape: Sequence[int]) -> Reviewed | None:
    """Open the file of `--reviewed`, in pixels of a stack of this shape; None without one."""
    if path is None:
        return None
    return open_reviewed(value=path, root=".", shape=shape, where="--reviewed")


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


def label_value(text: str) -> int:
    """A label value as a number: a whole number, or a colour as #rrggbb.

    >>> label_value("-1"), label_value("#fa3253") == 0xFA3253
    (-1, True)
    """
    colour = re.fullmatch(r"#([0-9a-fA-F]{6})", text.strip())
    return int(colour[1], 16) if colour else int(text)


def parse_classes(entries: Sequence[str] | None) -> dict[str, list[int]]:
    """Class -> label values, from the texts of `--class`; a name alone has none.

    Raises:
        FibsegError: a text is not NAME, NAME=VALUE or NAME=VALUE,VALUE.

    >>> parse_classes(["mitochondrion=1", "er=3,4", "golgi"])
    {'mitochondrion': [1], 'er': [3, 4], 'golgi': []}
    """
    values_of_class: dict[str, list[int]] = {}
    for entry in entries or []:
        # The last sign: values have none, and a name may have.
        name, sign, values = entry.rpartition("=") if "=" in entry else (entry, "", "")
        try:
            numbers = [label_value(value) for value in values.split(",")] if sign else []
        except ValueError:
            raise FibsegError(
                f"--class {entry}: expected NAME=VALUE, as mitochondrion=1 or er=3,4, or for "
                "labels in colours er=#33ddff."
            ) from None
        # A class may be given twice, as --class er=3 --class er=4.
        values_of_class.setdefault(name.strip(), []).extend(numbers)
    require(*(Check("--class", name, CLASS_NAME) for name in values_of_class if name))
    return values_of_class
