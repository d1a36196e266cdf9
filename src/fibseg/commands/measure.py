"""`fibseg measure`: count, volume and surface of the organelles in a label stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from fibseg.arrays import IGNORE
from fibseg.commands.arguments import nanometre_sizes
from fibseg.commands.measure_outputs import (
    check_outputs,
    chosen_outputs,
    print_further,
    summary_table,
    write_outputs,
)
from fibseg.config.compose import load_description
from fibseg.data.labels.files import label_notes, open_label_stack
from fibseg.data.scoring import agreed_names
from fibseg.errors import FibsegError
from fibseg.machine import print_line, print_warnings, table_console
from fibseg.pages.objects import write_object_page
from fibseg.scores.bodies.ids import find_ids
from fibseg.scores.bodies.measuring import measure_more, too_large
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.bodies.splitting import split_objects
from fibseg.scores.bodies.table import ObjectTable, check_parquet, object_table_of
from fibseg.scores.label_values import (
    annotated_values,
    class_reader,
    distinct_values,
    noted_names,
)
from fibseg.scores.measures import NANOMETRES, VOXELS, Units, measure_classes
from fibseg.scores.objects import find_objects
from fibseg.scores.slabs import ReadClasses
from fibseg.stack import Stack, StackHeader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("labels", help="label stack, as predict.py writes it")
    parser.add_argument(
        "--data",
        help="data description (a name in conf/data or a YAML file) that names the classes",
    )
    parser.add_argument(
        "--voxel-size",
        type=nanometre_sizes,
        metavar="Z,Y,X",
        help="voxel size in nm, if the file has none",
    )
    parser.add_argument(
        "--smallest", type=int, default=1, metavar="VOXELS", help="leave out smaller objects"
    )
    parser.add_argument(
        "--fill-holes",
        action="store_true",
        help="count background that one class encloses as part of it",
    )
    parser.add_argument(
        "--ids", action="store_true", help="each value of LABELS is the id of one object, no class"
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="with --ids: label stack of the same shape that gives the classes of the objects and "
        "of their neighbours",
    )
    parser.add_argument(
        "--split-necks",
        type=float,
        metavar="SHARE",
        help="divide objects at necks that are at most this share of the thinner side, as .5",
    )
    parser.add_argument(
        "--shape",
        action="store_true",
        help="also sphericity, elongation, length and branches of the skeleton",
    )
    parser.add_argument(
        "--neighbours",
        action="store_true",
        help="also the area in contact with each class, and the distance to it",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="CSV to write (default: LABELS-objects.csv)"
    )
    parser.add_argument(
        "--parquet", action="store_true", help="write the table as Parquet, too (needs pyarrow)"
    )
    parser.add_argument("--page", metavar="FILE", help="also write histograms, as an HTML page")
    parser.add_argument("--instances", metavar="FILE", help="also write a stack of object numbers")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> None:
    """Write a table of objects, a stack of their numbers on request, and print a summary."""
    console = table_console()
    labels = Path(options.labels)
    outputs = chosen_outputs(labels, options)
    stack = open_label_stack(labels)
    print_warnings(console, stack.doubts)
    _check_options(options)
    spacing, units = _spacing(stack, options.voxel_size, console)
    # Before the work, since it may take an hour.
    inputs = [options.labels, *([options.classes] if isinstance(options.classes, str) else [])]
    check_outputs(outputs, options.overwrite, inputs)
    source = _open_classes(stack, options, console)
    objects = _objects(
        stack=stack,
        source=source,
        spacing=spacing,
        options=options,
        folder=outputs.table.parent,
    )
    if objects.count and (left := too_large(objects)) and (options.shape or options.split_necks):
        print_line(console, f"{left} objects are too large for a skeleton and for necks")
    table = _object_table(objects, source, options, units)
    header = StackHeader(stack.shape, "uint32", None if units is VOXELS else list(spacing))
    write_outputs(outputs, table, header, objects)
    if outputs.page is not None:
        write_object_page(
            path=outputs.page,
            title=f"Objects of {labels.name}",
            table=table,
            class_names=source.names,
            notes=[_rule(options)],
        )
    summaries = measure_classes(
        measures=objects.measures,
        class_names=source.names,
        spacing=spacing,
        shape=stack.shape,
        units=units,
    )
    console.print(summary_table(summaries, units))
    print_line(console, f"{outputs.table}: {objects.count} objects")
    print_further(outputs, console)


@dataclass(frozen=True)
class _Classes:
    """Names of the foreground classes, in the order of their indices, and what reads the indices.

    `read` gives (H, W) class indices of a slice.
    """

    names: list[str]
    read: ReadClasses


def _check_options(options: argparse.Namespace) -> None:
    if options.smallest < 1:
        raise FibsegError(f"--smallest: {options.smallest}; expected 1 voxel or more.")
    if options.split_necks is not None and not 0 < options.split_necks < 1:
        raise FibsegError(f"--split-necks: {options.split_necks:g}; expected between 0 and 1.")
    if options.classes is not None and not options.ids:
        raise FibsegError("--classes: only with --ids; LABELS give the classes themselves.")
    if options.ids and (options.fill_holes or options.split_necks):
        name = "--fill-holes" if options.fill_holes else "--split-necks"
        raise FibsegError(f"{name}: not with --ids, whose objects stay as they are.")
    if options.ids and options.data and options.classes is None:
        raise FibsegError("--data: ids have no classes; give --classes, too, or leave it out.")
    if options.parquet:
        check_parquet()


def _open_classes(stack: Stack, options: argparse.Namespace, console: Console) -> _Classes:
    """Find the classes: those of the labels, or beside ids those of another stack."""
    if options.ids and options.classes is None:
        # Without classes, all objects are of one.
        return _Classes(["object"], lambda z: (stack.read(z) > 0).astype(np.uint8))
    path = Path(options.classes or options.labels)
    classes = stack if options.classes is None else open_label_stack(path)
    if classes.shape != stack.shape:
        raise FibsegError(f"{path} is {classes.shape}, {stack.name} is {stack.shape}.")
    names = _class_names(classes, path, options.data, console)
    # Classes are numbered by their label values in ascending order, as `class_reader` does.
    return _Classes([names[value] for value in sorted(names)], class_reader(classes.read, names))


def _objects(
    stack: Stack,
    source: _Classes,
    spacing: tuple[float, float, float],
    options: argparse.Namespace,
    folder: Path,
) -> NumberedObjects:
    """Find the objects: by their ids, or connected ones, divided at necks on request."""
    read = stack.read
    if not options.ids:
        divides = options.split_necks is not None
        objects = find_objects(
            read=source.read,
            shape=stack.shape,
            spacing=spacing,
            # Of divided objects the parts must be large enough.
            smallest=1 if divides else options.smallest,
            fill_holes=options.fill_holes,
        )
        if not divides:
            return objects
        read = split_objects(objects, options.split_necks, folder)
    return find_ids(
        read=read,
        shape=stack.shape,
        spacing=spacing,
        smallest=options.smallest,
        read_classes=source.read,
    )


def _object_table(
    objects: NumberedObjects, source: _Classes, options: argparse.Namespace, units: Units
) -> ObjectTable:
    """Measure the objects as far as the user asks for it."""
    more = measure_more(
        objects=objects,
        classes=len(source.names),
        read_classes=source.read,
        shape=options.shape,
        neighbours=options.neighbours,
    )
    names = source.names
    return object_table_of(
        objects=objects, class_names=names, rule=_rule(options), more=more, units=units
    )


def _rule(options: argparse.Namespace) -> str:
    """Which objects are in the table, in a sentence."""
    size = "1 voxel" if options.smallest == 1 else f"{options.smallest} voxels"
    return f"objects of {size} or more; those at the border of the stack are kept, cut there"


def _spacing(
    stack: Stack, given: Sequence[float] | None, console: Console
) -> tuple[tuple[float, float, float], Units]:
    """Size of a voxel (z, y, x) in nm, the given one or the file's, and the units of measures."""
    size = given or stack.voxel_size
    if size is None:
        print_line(
            console,
            f"{stack.name} holds no voxel size: measures are in voxels, as if these were cubes; "
            "--voxel-size z,y,x gives it in nm",
        )
        return (1.0, 1.0, 1.0), VOXELS
    if not np.isfinite(size).all() or min(size) <= 0 or max(size) > 1e4 * min(size):
        raise FibsegError(
            f"--voxel-size: {list(size)}; expected three sizes above 0, in nm, that differ by less "
            "than a factor of 10000."
        )
    z, y, x = size
    return (float(z), float(y), float(x)), NANOMETRES


def _class_names(
    stack: Stack, path: Path, description: str | None, console: Console
) -> dict[int, str]:
    """Label value -> name: from a description, else the notes of predict.py, else every value."""
    names = _known_names(path, description, console)
    if names is None:
        values = distinct_values(stack)
        classes = annotated_values(values)
        if classes != values:
            left_out = ", ".join(str(value) for value in values if value not in classes)
            console.print(
                f"{left_out} is left out, as it marks unannotated pixels; "
                "a description (--data) may name it as a class"
            )
        names = {value: str(value) for value in classes}
    if not names:
        raise FibsegError(f"{stack.name}: nothing but background; there is nothing to measure.")
    # Class indices are bytes.
    if len(names) >= IGNORE:
        raise FibsegError(f"{stack.name}: {len(names)} values; name the classes with --data.")
    return names


def _known_names(path: Path, description: str | None, console: Console) -> dict[int, str] | None:
    noted = noted_names(label_notes(path))
    if description is None:
        return noted
    loaded = load_description(description)
    _, doubts = agreed_names({str(path): noted}, loaded)
    print_warnings(console, doubts)
    return {of_class.label: name for name, of_class in loaded.classes.items()}
