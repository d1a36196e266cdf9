"""`fibseg import`: labels of another program as class numbers."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from fibseg.arrays import IGNORE
from fibseg.commands.arguments import (
    add_annotated_slices,
    add_offset,
    add_reviewed,
    annotated_slices,
    label_value,
    open_region,
    parse_classes,
)
from fibseg.data.description_file import yaml_text
from fibseg.data.labels.files import (
    LabelSource,
    open_coloured_labels,
    open_labels,
    read_label_map,
)
from fibseg.data.labels.importing import (
    ImportedLabels,
    ImportPlan,
    LabelMeaning,
    import_labels,
    plan_import,
)
from fibseg.errors import FibsegError
from fibseg.machine import plain_console, print_warnings
from fibseg.stack import check_output, open_stack


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
        help="values of a class, as in er=3 or er=3,4; its colour, as in er=#33ddff; or its name "
        "alone, which a labelmap.txt beside the pictures gives a colour",
    )
    parser.add_argument(
        "--background",
        type=label_value,
        action="append",
        default=[],
        metavar="VALUE",
        help="value or colour of annotated pixels that belong to no class",
    )
    parser.add_argument(
        "--unlabelled",
        type=label_value,
        action="append",
        default=[],
        metavar="VALUE",
        help="value or colour of unannotated pixels (255 is always one)",
    )
    parser.add_argument(
        "--empty-slices",
        choices=["unlabelled", "background"],
        help="meaning of slices that hold only 0",
    )
    add_offset(parser)
    add_annotated_slices(parser)
    add_reviewed(parser, "IMAGE (or of LABELS, without --image)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(options: argparse.Namespace) -> None:
    """Write class numbers, and print what they are and their entry for a data description."""
    console = plain_console(soft_wrap=True, highlight=False)
    output = Path(options.output)
    # Before anything is read: reading a large stack takes minutes.
    check_output(output, options.overwrite, "--overwrite")
    source = _open_source(options)
    labels = source.stack
    kept = None
    if options.slices is not None or options.reviewed is None:
        kept = annotated_slices(options.labels, options.slices, labels.shape[0])
    image = open_stack(options.image) if options.image else None
    plan = plan_import(image, labels, options.offset, kept)
    print_warnings(console, plan.doubts)
    reviewed = open_region(options.reviewed, labels.shape if image is None else image.shape)
    if reviewed is not None and image is not None:
        reviewed = reviewed.part(plan.offset, (len(plan.pages), *labels.shape[1:]))
    meaning = _meaning(options, source)
    imported = import_labels(
        stack=labels,
        meaning=meaning,
        output=output,
        pages=plan.pages,
        voxel_size=plan.voxel_size,
        reviewed=reviewed,
    )
    console.print(f"{source.program}: {labels.name}, {labels.shape}")
    for note in plan.notes:
        console.print(note)
    console.print(f"{output}: {imported.annotated} of {imported.depth} slices annotated; values")
    for line in _meaning_lines(imported, meaning):
        console.print(f"  {line}")
    console.print(f"\n{_entry(meaning.classes, options.image, output, plan)}")
    if image is not None:
        files = shlex.join([options.image, str(output)])
        # As `fibseg new` asks for it.
        needs_offset = image.shape != (imported.depth, *labels.shape[1:])
        offset = f" --offset {','.join(map(str, plan.offset))}" if needs_offset else ""
        console.print(f"\nOr let fibseg write it: fibseg new NAME {files}{offset}")


def _open_source(options: argparse.Namespace) -> LabelSource:
    """Open the labels, in colours where the classes have colours or stand in a labelmap.txt."""
    entries: list[str] = options.classes or []
    by_name = not all("=" in entry for entry in entries)
    if any("=#" in entry for entry in entries) or (
        (by_name or not entries) and read_label_map(options.labels)
    ):
        return open_coloured_labels(options.labels)
    # It tells by the file itself which program wrote it.
    return open_labels(options.labels)


def _meaning(options: argparse.Namespace, source: LabelSource) -> LabelMeaning:
    """What the values mean, as the user says it, else as the file does."""
    background = [*options.background, *source.background]
    # --background 0 overrides that 0 means unannotated in ilastik.
    unlabelled = [value for value in source.unlabelled if value not in background]
    return LabelMeaning(
        classes=_classes(parse_classes(options.classes), source, background),
        background=background,
        unlabelled=[*options.unlabelled, *unlabelled],
        # In a region that a person has looked at, 0 is background, whatever else is painted.
        empty_is_unlabelled=options.reviewed is None
        and (options.empty_slices or source.empty_slices) == "unlabelled",
        coloured=source.coloured,
    )


def _classes(
    named: dict[str, list[int]], source: LabelSource, background: Sequence[int]
) -> dict[str, list[int]]:
    """Class -> values in the file, as the user names them, else as the file does."""
    for name, values in named.items():
        if not values and name in source.names:
            values.append(source.names[name])
        elif not values and name:
            known = ", ".join(source.names) or "no labelmap.txt beside the labels"
            raise FibsegError(
                f"--class {name}: expected NAME=VALUE, as mitochondrion=1 or er=#33ddff, or a name "
                f"of the file (there are: {known})."
            )
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
        f"{number}  {name} (was {', '.join(map(meaning.text, values))}): "
        f"{shares[number]:.2%} of the annotated pixels"
        for number, (name, values) in enumerate(meaning.classes.items(), 1)
    ]
    lines.append(f"0  background: {shares[0]:.2%} of the annotated pixels")
    lines.append(f"{IGNORE}  unannotated: {imported.ignored:.2%} of all pixels")
    # Where the file marks what is unannotated, 0 cannot mean that as well.
    if imported.marked and imported.emptied:
        lines.append(
            f"{imported.emptied} slices of nothing but 0 became unannotated; if they are "
            "background, give --empty-slices background"
        )
    # Where slices of 0 are background, 0 is background in every slice.
    elif (
        meaning.empty_is_unlabelled
        and not imported.marked
        and 0 not in meaning.unlabelled
        and not any(0 in values for values in meaning.classes.values())
        and imported.annotated > 0
    ):
        lines.append(
            "0 inside an annotated slice became background; "
            f"if it means unannotated, give --unlabelled {meaning.text(0)}"
        )
    return lines


def _entry(classes: Iterable[str], image: str | None, labels: Path, plan: ImportPlan) -> str:
    """The classes and the volume as a data description has them."""
    lines = "".join(
        f"  {yaml_text(name)}: {{label: {number}, weight: 1.0}}\n"
        for number, name in enumerate(classes, 1)
    )
    # A weight of .1 for the background, as in the paper; the others are for the user to set.
    return (
        f"classes:\n{lines}background: {{labels: [0], weight: 0.1}}\nignore: {IGNORE}\n"
        "volumes:\n"
        f"  - image: {image or '???'}\n"
        f"    labels: {labels}\n"
        f"    offset: {plan.offset}\n"
        f"    voxel_size: {list(plan.voxel_size) if plan.voxel_size else '???'}\n"
        "    split: ???"
    )
