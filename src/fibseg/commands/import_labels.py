"""`fibseg import`: labels of another program as class numbers."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from fibseg.arrays import IGNORE
from fibseg.commands.arguments import add_offset, parse_classes
from fibseg.data.draft import yaml_text
from fibseg.data.importing import (
    ImportedLabels,
    LabelMeaning,
    LabelSource,
    import_labels,
    open_labels,
)
from fibseg.errors import FibsegError
from fibseg.machine import plain_console
from fibseg.stack import check_output, open_stack, part_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "labels", help="HDF5 file of ilastik, .model file of MIB, or a stack as napari writes it"
    )
    parser.add_argument("output", help="TIFF or .zarr to write")
    parser.add_argument(
        "--image", help="image stack of the labels, for the data description that is printed"
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME=VALUES",
        help="values of a class, as in er=3 or er=3,4",
    )
    parser.add_argument(
        "--background",
        type=int,
        action="append",
        default=[],
        metavar="VALUE",
        help="value of annotated pixels that belong to no class",
    )
    parser.add_argument(
        "--unlabelled",
        type=int,
        action="append",
        metavar="VALUE",
        help="value of unannotated pixels",
    )
    parser.add_argument(
        "--empty-slices",
        choices=["unlabelled", "background"],
        help="meaning of slices that hold only 0",
    )
    add_offset(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(options: argparse.Namespace) -> None:
    """Write class numbers, and print what they are and their entry for a data description."""
    console = plain_console(soft_wrap=True, highlight=False)
    output = Path(options.output)
    # Before anything is read: reading a large stack takes minutes.
    check_output(output, options.overwrite, "--overwrite")
    # It tells by the file itself which program wrote it.
    source = open_labels(options.labels)
    offset = options.offset or [0, 0, 0]
    voxel_size = source.stack.voxel_size
    if options.image:
        image = open_stack(options.image)
        # Raises where the labels leave the image, before anything is written.
        part_of(image, offset, source.stack.shape)
        # Either file may lack it; where both have one, that of the labels counts.
        voxel_size = voxel_size or image.voxel_size
    # --background 0 overrides that 0 means unannotated in ilastik.
    unlabelled = [value for value in source.unlabelled if value not in options.background]
    meaning = LabelMeaning(
        classes=_classes(parse_classes(options.classes), source, options.background),
        background=options.background,
        unlabelled=[*(options.unlabelled or []), *unlabelled],
        empty_is_unlabelled=(options.empty_slices or source.empty_slices) == "unlabelled",
    )
    imported = import_labels(source.stack, meaning, output)
    console.print(f"{source.program}: {source.stack.name}, {source.stack.shape}")
    console.print(
        f"{output}: {imported.annotated} of {source.stack.shape[0]} slices annotated; values"
    )
    for line in _meaning_lines(imported, meaning):
        console.print(f"  {line}")
    size = list(voxel_size) if voxel_size else "???"
    console.print(
        f"\n{_class_entry(meaning.classes)}volumes:\n"
        f"  - image: {options.image or '???'}\n"
        f"    labels: {output}\n"
        f"    offset: {offset}\n"
        f"    voxel_size: {size}\n"
        "    split: ???"
    )
    if options.image:
        files = shlex.join([options.image, str(output)])
        console.print(f"\nOr let fibseg write it: fibseg new NAME {files}")


def _classes(
    named: dict[str, list[int]], source: LabelSource, background: Sequence[int]
) -> dict[str, list[int]]:
    """Class -> values in the file, as the user names them, else as the file does."""
    classes = named or {
        name: [value] for name, value in source.names.items() if value not in background
    }
    if "background" in classes:
        raise FibsegError("--class background: no class; give its value as --background VALUE.")
    # Class numbers are bytes, of which 0 is background and 255 means unannotated.
    if len(classes) >= IGNORE:
        raise FibsegError(f"{len(classes)} classes; {IGNORE - 1} are the most.")
    # A name in the file may be empty.
    if not classes or not all(classes):
        raise FibsegError(
            f"{source.stack.name}: it names no classes; give them as --class mitochondrion=1."
        )
    return classes


def _meaning_lines(imported: ImportedLabels, meaning: LabelMeaning) -> list[str]:
    """A line for each value that was written."""
    shares = imported.shares
    lines = [
        f"{number}  {name} (was {', '.join(map(str, values))}): "
        f"{shares[number]:.2%} of the annotated pixels"
        for number, (name, values) in enumerate(meaning.classes.items(), 1)
    ]
    lines.append(f"0  background: {shares[0]:.2%} of the annotated pixels")
    lines.append(f"{IGNORE}  unannotated: {imported.ignored:.2%} of all pixels")
    if 0 not in meaning.unlabelled and imported.annotated > 0:
        lines.append(
            "0 inside an annotated slice became background; "
            "if it means unannotated, give --unlabelled 0"
        )
    return lines


def _class_entry(classes: Iterable[str]) -> str:
    """The classes as a data description has them."""
    lines = "".join(
        f"  {yaml_text(name)}: {{label: {number}, weight: 1.0}}\n"
        for number, name in enumerate(classes, 1)
    )
    # A weight of .1 for the background, as in the paper; the others are for the user to set.
    return f"classes:\n{lines}background: {{labels: [0], weight: 0.1}}\nignore: {IGNORE}\n"
