"""`fibseg new`: a commented data description from an image and its labels."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console

from fibseg.arrays import IGNORE
from fibseg.config.compose import CONF
from fibseg.data.draft import Sketch, sketch, write_description
from fibseg.data.importing import PLAIN, open_labels
from fibseg.errors import FibsegError
from fibseg.stack import open_stack


def new(options: argparse.Namespace) -> None:
    """Write a commented data description from what is in the files."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", options.name):
        raise FibsegError(
            f"{options.name}: no name for a data description; expected letters, digits, . _ and -."
        )
    path = Path(options.output) if options.output else CONF / "data" / f"{options.name}.yaml"
    if path.exists() and not options.overwrite:
        raise FibsegError(f"{path}: exists already; give another name, or --overwrite.")
    image, source = open_stack(options.image), open_labels(options.labels)
    labels = source.stack
    if source.program != PLAIN:
        raise FibsegError(
            f"{labels.name}: labels of {source.program}, where 0 has a meaning of its own; bring them in first: "
            f"fibseg import {options.labels} labels.tif --class NAME=VALUE"
        )
    if labels.shape != image.shape and options.offset is None:
        raise FibsegError(
            f"{labels.name} is {labels.shape} and the image {image.shape}; say where the labels start in it with "
            "--offset z,y,x."
        )
    names = one_value_each(named_classes(options.classes))
    found = sketch(image, labels, options.offset or [0, 0, 0], options.voxel_size, names)
    unknown = sorted(set(names) - set(found.values))
    if unknown:
        raise FibsegError(
            f"--class {names[unknown[0]]}={unknown[0]}: no label has this value; there are {list(found.values)}."
        )
    write_description(path, options.name, options.image, options.labels, found, names)
    console.print(draft_summary(found))
    if found.voxel_size is None:
        console.print(
            "voxel size: neither file tells; write it in place of ???, or give --voxel-size z,y,x in nm"
        )
    if IGNORE not in found.values and len(found.annotated) < found.labelled:
        missing = found.labelled - len(found.annotated)
        console.print(f"{missing} slices are all 0 and left out of the splits: not annotated?")
    console.print(
        f"{path}: read it{'' if names else ', name the classes'}, then\n  fibseg check {path}"
    )
    if path.parent.name != "data":
        console.print(
            f"For train.py move it into a folder DIR/data, and give --config-dir=DIR data={path.stem}"
        )
        return
    more = "" if path.parent.parent == CONF else f" --config-dir={path.parent.parent}"
    console.print(f"  python train.py{more} data={path.stem} experiment=quick")


def draft_summary(found: Sketch) -> str:
    """What was found, in a few lines."""
    values = ", ".join(f"{value} ({share:.2%})" for value, share in found.values.items())
    splits = ", ".join(f"{len(own)} {split}" for split, own in found.positions.items())
    return f"label values: {values}\nslices with labels: {len(found.annotated)} of {found.depth}; {splits}"


def named_classes(entries: list[str] | None) -> dict[str, list[int]]:
    """What --class says: class -> label values."""
    table: dict[str, list[int]] = {}
    for entry in entries or []:
        name, _, values = entry.partition("=")
        try:
            table.setdefault(name.strip(), []).extend(int(value) for value in values.split(","))
        except ValueError:
            raise FibsegError(
                f"--class {entry}: expected NAME=VALUE, as mitochondrion=1 or er=3,4."
            ) from None
    return table


def one_value_each(table: dict[str, list[int]]) -> dict[int, str]:
    """Value -> class; FibsegError where a class has several, or a value several classes, or is the background."""
    found: dict[int, str] = {}
    for name, values in table.items():
        if not name or name == "background":
            raise FibsegError(f"--class {name}={values[0]}: no name of a class.")
        if len(values) > 1:
            raise FibsegError(
                f"--class {name}: several values; bring them together with fibseg import."
            )
        if values[0] == 0 or values[0] in found:
            raise FibsegError(
                f"--class {name}={values[0]}: the value is taken; 0 is the background."
            )
        found[values[0]] = name
    return found
