"""`fibseg measure`: count, volume and surface of the organelles in a label stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fibseg.arrays import IGNORE
from fibseg.commands.arguments import nanometre_sizes
from fibseg.config.compose import load_description
from fibseg.data.labels.files import label_notes, open_label_stack
from fibseg.data.scoring import agreed_names
from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, replacing_together, writing
from fibseg.machine import print_line, print_warnings, table_console
from fibseg.scores.label_values import (
    annotated_values,
    class_reader,
    distinct_values,
    noted_names,
)
from fibseg.scores.measures import ClassMeasures, measure_classes, objects_csv
from fibseg.scores.objects import StackObjects, find_objects
from fibseg.stack import Stack, StackHeader, StackWriter, check_output


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
        "--output", metavar="FILE", help="CSV to write (default: LABELS-objects.csv)"
    )
    parser.add_argument("--instances", metavar="FILE", help="also write a stack of object numbers")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> None:
    """Write a table of objects, a stack of their numbers on request, and print a summary."""
    console = table_console()
    labels = Path(options.labels)
    output = Path(options.output or f"{labels.stem}-objects.csv")
    instances = None if options.instances is None else Path(options.instances)
    stack = open_label_stack(labels)
    print_warnings(console, stack.doubts)
    spacing = _spacing(stack, options.voxel_size)
    if options.smallest < 1:
        raise FibsegError(f"--smallest: {options.smallest}; expected 1 voxel or more.")
    # Before the work, since it may take an hour.
    _check_outputs(output, instances, options.overwrite)
    names = _class_names(stack, labels, options.data, console)
    objects = find_objects(
        read=class_reader(stack.read, names),
        shape=stack.shape,
        spacing=spacing,
        smallest=options.smallest,
        fill_holes=options.fill_holes,
    )
    # Classes are numbered by their label values in ascending order, as `class_reader` does.
    class_names = [names[value] for value in sorted(names)]
    table = objects_csv(objects.measures, class_names, spacing)
    header = StackHeader(stack.shape, "uint32", list(spacing))
    _write_outputs((output, table), instances, header, objects)
    console.print(_summary(measure_classes(objects.measures, class_names, spacing, stack.shape)))
    print_line(console, f"{output}: {len(objects.measures.voxels)} objects")
    if instances is not None:
        print_line(console, f"{instances}: the number of its object at each voxel")


def _spacing(stack: Stack, given: Sequence[float] | None) -> tuple[float, float, float]:
    """Size of a voxel (z, y, x) in nm: the given one, or the file's."""
    # Volumes in µm³ need it, and a guess would look like a measurement.
    size = given or stack.voxel_size
    if size is None:
        raise FibsegError(f"{stack.name} holds no voxel size; give --voxel-size z,y,x in nm.")
    if min(size) <= 0:
        raise FibsegError(f"--voxel-size: {list(size)}; expected three sizes above 0, in nm.")
    z, y, x = size
    return float(z), float(y), float(x)


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


def _check_outputs(output: Path, instances: Path | None, overwrite: bool) -> None:
    """Check that both files can be written; what a killed process left of them is removed."""
    if output == instances:
        raise FibsegError(f"{output}: is given twice; give --instances another name.")
    clear_leftovers([output] if instances is None else [output, instances])
    if output.exists() and not overwrite:
        raise FibsegError(f"{output}: exists already; give another --output, or --overwrite.")
    if instances is not None:
        check_output(instances, overwrite, "--overwrite")


def _write_outputs(
    table: tuple[Path, str], instances: Path | None, header: StackHeader, objects: StackObjects
) -> None:
    """Write the table, a path and its text, and the stack: both appear, or neither does."""
    output, text = table
    outputs = [output] if instances is None else [output, instances]
    with replacing_together(outputs) as partials:
        with writing(output):
            partials[0].write_text(text, encoding="utf-8")
        if instances is not None:
            with StackWriter(instances, header, partials[1]) as writer:
                for numbers in objects.instances():
                    writer.write(numbers)


def _summary(summaries: Sequence[ClassMeasures]) -> Table:
    table = Table(
        "class",
        "objects",
        "at the border",
        "volume µm³",
        "of the stack",
        "median µm³",
        "surface µm²",
        caption="objects at the border continue outside: only the part in the stack is measured",
    )
    for summary in summaries:
        table.add_row(
            summary.name,
            str(summary.objects),
            str(summary.at_border),
            f"{summary.volume:.4g}",
            f"{summary.share:.1%}",
            "-" if summary.median is None else f"{summary.median:.4g}",
            f"{summary.surface:.4g}",
        )
    return table
