"""`fibseg new`: a commented data description from an image and its labels."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path

from fibseg.commands.arguments import (
    add_annotated_slices,
    add_offset,
    add_reviewed,
    annotated_slices,
    nanometre_sizes,
    open_region,
    parse_classes,
)
from fibseg.config.compose import CONF
from fibseg.data.description_file import DraftNames, write_description
from fibseg.data.draft import Draft, DraftRequest, draft_from_stacks
from fibseg.data.labels.files import (
    UNKNOWN_PROGRAM,
    label_notes,
    name_doubts,
    open_labels,
)
from fibseg.errors import FibsegError
from fibseg.machine import plain_console, print_warnings
from fibseg.rules import NAME, Check, require
from fibseg.scores.label_values import noted_names
from fibseg.stack import Stack, open_stack

_DESCRIPTIONS = Path("conf", "data")
"""Folder of the user's own data descriptions, below the current directory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("name", help="name of the description, for data=NAME")
    parser.add_argument("image", help="stack of grey values")
    parser.add_argument("labels", help="stack of label values; may be smaller than the image")
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME=VALUE",
        help="name of a label value, as in er=3",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="YAML file to write (default: conf/data/NAME.yaml)"
    )
    add_offset(parser)
    parser.add_argument(
        "--voxel-size",
        type=nanometre_sizes,
        metavar="Z,Y,X",
        help="voxel size in nm, if the files have none",
    )
    add_annotated_slices(parser)
    add_reviewed(parser, "IMAGE")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(options: argparse.Namespace) -> None:
    """Write a commented data description from what is in the files, and print what to do next."""
    console = plain_console(soft_wrap=True, highlight=False)
    path = _output(options)
    # Before the files are opened: to survey a large stack of labels takes time.
    classes = _class_names(parse_classes(options.classes))
    image = open_stack(options.image)
    labels = _open_class_numbers(options.labels)
    doubts = name_doubts(options.labels, classes)
    # An import of fibseg keeps the names of its classes, and a prediction those of its model.
    classes = classes or noted_names(label_notes(options.labels)) or {}
    request = DraftRequest(
        offset=options.offset,
        voxel_size=options.voxel_size,
        named_values=classes,
        slices=_annotated(options, labels.shape[0]),
        reviewed=open_region(options.reviewed, image.shape),
    )
    draft = draft_from_stacks(image, labels, request)
    print_warnings(console, [*draft.doubts, *doubts])
    # A typing error in a value would give a class without a pixel.
    unknown = sorted(set(classes) - set(draft.values)) if options.classes else []
    if unknown:
        raise FibsegError(
            f"--class {classes[unknown[0]]}={unknown[0]}: no label has this value; "
            f"there are {list(draft.values)}."
        )
    names = DraftNames(
        name=options.name,
        image=options.image,
        labels=options.labels,
        classes=classes,
        reviewed=options.reviewed,
    )
    write_description(path, draft, names)
    for line in _summary(draft):
        console.print(line)
    console.print(f"{path}: read it{'' if classes else ', name the classes'}, then")
    for line in _next_commands(path):
        console.print(line)


def _annotated(options: argparse.Namespace, depth: int) -> list[int] | None:
    """Positions of the annotated slices of the labels; None where others say which they are."""
    # Whoever says where he has looked may have looked at a prediction.
    if options.slices is None and options.reviewed is not None:
        return None
    return annotated_slices(options.labels, options.slices, depth)


def _output(options: argparse.Namespace) -> Path:
    """The file to write, which must not have the name of a description of the package."""
    # The name becomes a file name, and a value on Hydra's command line.
    require(Check("NAME", options.name, NAME))
    path = Path(options.output or _DESCRIPTIONS / f"{options.name}.yaml")
    if path.exists() and not options.overwrite:
        raise FibsegError(f"{path}: exists already; give another name, or --overwrite.")
    # Hydra would find the package's description in place of this one.
    packaged = CONF / "data" / f"{path.stem}.yaml"
    if packaged.exists() and packaged.resolve() != path.resolve():
        raise FibsegError(
            f"{path.stem}: a data description of fibseg has this name; give another name."
        )
    return path


def _open_class_numbers(path: str) -> Stack:
    """Labels in which 0 is background; other programs' labels must be imported first."""
    source = open_labels(path)
    if source.program != UNKNOWN_PROGRAM:
        raise FibsegError(
            f"{source.stack.name}: labels of {source.program}, where 0 has another meaning; "
            f"import them first: fibseg import {path} labels.tif --class NAME=VALUE"
        )
    return source.stack


def _class_names(values_of_class: Mapping[str, list[int]]) -> dict[int, str]:
    """Label value -> class, from class -> its values.

    Raises:
        FibsegError: a class has several values, or a value several classes, or a value is the
            background's.
    """
    names: dict[int, str] = {}
    for name, values in values_of_class.items():
        if not values:
            raise FibsegError(f"--class {name}: expected NAME=VALUE, as mitochondrion=1.")
        if not name or name == "background":
            raise FibsegError(
                f"--class {name}={values[0]}: no name of a class; give another, as in er=3."
            )
        if len(values) > 1:
            raise FibsegError(f"--class {name}: several values; make them one with fibseg import.")
        value = values[0]
        if value == 0 or value in names:
            raise FibsegError(f"--class {name}={value}: the value is taken; 0 is the background.")
        names[value] = name
    return names


def _summary(draft: Draft) -> list[str]:
    """What the files hold, and what is missing."""
    # Shares help to tell which value is which organelle.
    values = ", ".join(f"{value} ({share:.2%})" for value, share in draft.values.items())
    splits = ", ".join(f"{len(slices)} {split}" for split, slices in draft.positions.items())
    left_out = f", {draft.left_out} left out between them" if draft.left_out else ""
    annotated = len(draft.annotated)
    lines = [
        f"label values: {values}",
        f"slices with labels: {annotated} of {draft.depth}; {splits}{left_out}",
        *draft.notes,
    ]
    if draft.ignore is not None:
        lines.append(f"value {draft.ignore}: unannotated pixels")
    if any(draft.offset):
        lines.append(f"offset: the labels start at {draft.offset} in the image")
    if "test" not in draft.positions:
        lines.append(
            "one slice to train on, one to validate and none to test: label more before you trust "
            "a score"
        )
    if draft.voxel_size is None:
        lines.append(
            "voxel size: neither file has one; write it in place of ???, "
            "or give --voxel-size z,y,x in nm"
        )
    # Labels without a value for unannotated pixels: an empty slice is either.
    if draft.ignore is None and annotated < draft.label_depth:
        lines.append(
            f"{draft.label_depth - annotated} slices are all 0 and left out of the splits: "
            "not annotated?"
        )
    return lines


def _next_commands(path: Path) -> list[str]:
    """Commands that work as they are printed, wherever the description was written."""
    lines = [f"  fibseg check {shlex.quote(str(path))}"]
    # Hydra reads descriptions from a folder called data only.
    if path.parent.name != "data":
        return [
            *lines,
            "To train, move it into a folder DIR/data; then "
            f"fibseg train --config-dir=DIR data={path.stem} experiment=quick",
        ]
    # Commands find conf/ in the current directory by themselves.
    is_found = path.parent.resolve() == _DESCRIPTIONS.resolve()
    folder = "" if is_found else f" --config-dir={shlex.quote(str(path.parent.parent))}"
    return [*lines, f"  fibseg train{folder} data={path.stem} experiment=quick"]
