"""`fibseg import`: labels of another program as class numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from fibseg.arrays import IGNORE
from fibseg.commands.new import named_classes
from fibseg.data.draft import in_yaml
from fibseg.data.importing import LabelSource, import_labels, open_labels
from fibseg.errors import FibsegError
from fibseg.stack import check_output, open_stack, part_of


def import_labels_command(options: argparse.Namespace) -> None:
    """Labels of another program as a TIFF of class numbers, and their entry for a data description."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    output = Path(options.output)
    check_output(output, options.overwrite, "--overwrite")
    source = open_labels(options.labels)
    table = class_table(options, source)
    if options.image:
        part_of(
            open_stack(options.image), options.offset or [0, 0, 0], source.stack.shape
        )  # do they lie in it?
    unlabelled = [
        *(options.unlabelled or []),
        *(v for v in source.unlabelled if v not in options.background),
    ]
    empty = options.empty_slices or source.empty_slices
    done = import_labels(
        source.stack, table, options.background, unlabelled, empty == "unlabelled", output
    )
    console.print(f"{source.program}: {source.stack.name}, {source.stack.shape}")
    console.print(f"{output}: {done.annotated} of {source.stack.shape[0]} slices annotated; values")
    for number, (name, values) in enumerate(table.items(), 1):
        console.print(
            f"  {number}  {name} (was {', '.join(map(str, values))}): {done.shares[number]:.2%} of what is annotated"
        )
    console.print(f"  0  background: {done.shares[0]:.2%} of the annotated")
    console.print(f"  {IGNORE}  nobody looked at it: {done.ignored:.2%} of all pixels")
    if 0 not in unlabelled and done.annotated > 0:
        console.print(
            "  0 inside a painted slice is taken as background; if nobody looked there, give --unlabelled 0"
        )
    image = options.image or "???"
    offset = list(options.offset or [0, 0, 0])
    classes = "".join(
        f"  {in_yaml(name)}: {{label: {k}, weight: 1.0}}\n" for k, name in enumerate(table, 1)
    )
    told = source.stack.voxel_size or (
        open_stack(options.image).voxel_size if options.image else None
    )
    size = list(told) if told else "???"
    console.print(
        f"\nclasses:\n{classes}background: {{labels: [0], weight: 0.1}}\nignore: {IGNORE}\nvolumes:\n"
        f"  - image: {image}\n    labels: {output}\n    offset: {offset}\n    voxel_size: {size}\n    split: ???"
    )
    if options.image:
        console.print(f"\nOr let them be found: fibseg new NAME {options.image} {output}")


def class_table(options: argparse.Namespace, source: LabelSource) -> dict[str, list[int]]:
    """Class -> values in the file, from --class, or from the names in the file."""
    table = named_classes(options.classes) or {
        name: [value] for name, value in source.names.items() if value not in options.background
    }
    if "background" in table:
        raise FibsegError("--class background: no class; give its value as --background VALUE.")
    if len(table) >= IGNORE:
        raise FibsegError(f"{len(table)} classes; {IGNORE - 1} are the most.")
    if not table or not all(table):
        raise FibsegError(
            f"{source.stack.name}: it names no classes; give them as --class mitochondrion=1."
        )
    return table
