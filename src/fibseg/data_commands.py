"""`fibseg check`, `fibseg new` and `fibseg import`: from a person's files to a data description that can be trusted."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from fibseg import IGNORE
from fibseg.check_page import Thumbnail, thumbnail, write_page
from fibseg.checking import Finding, Inspector, SliceFacts, slice_split, voxel_findings
from fibseg.config import CONF, load_description
from fibseg.dataset import VolumeReader, image_place, provide_phantom, read_second_expert, split_positions
from fibseg.description import SPLITS, DataDescription, check_description
from fibseg.errors import FibsegError
from fibseg.importing import PLAIN, LabelSource, import_labels, open_labels
from fibseg.intensity import Window
from fibseg.new_description import Sketch, in_yaml, sketch, write_description
from fibseg.stack import check_output, open_stack, part_of

SHOWN = 8
"""Slices of a volume on the page, and as many again that look unannotated."""


def check(options: argparse.Namespace) -> None:
    """Look at every annotated slice; FibsegError at the end if anything is wrong."""
    console = Console()
    description = load_description(options.data)
    if options.root is not None:
        description.root = options.root
    page = Path(options.page or f"check-{description.name}.html")
    findings, inspector, shown = look(description, console)
    if inspector.slices:
        console.print(volume_table(description, inspector))
    for one in findings:
        console.print(f"{one.level}: {one.text}", markup=False, highlight=False, soft_wrap=True)
    window = inspector.window() or Window(0.0, 1.0)
    if description.intensity.per == "slice":
        window = Window(window.low, window.high, (description.intensity.low, description.intensity.high))
    write_page(page, f"Data {description.name}", inspector.names, inspector.slices, shown, findings, window)
    console.print(f"{page}: is this what you painted?", markup=False, highlight=False, soft_wrap=True)
    errors = sum(one.level == "error" for one in findings)
    if errors:
        raise FibsegError(f"{errors} error{'s' * (errors > 1)} in the data description {options.data}, see above.")


def look(description: DataDescription, console: Console) -> tuple[list[Finding], Inspector, list[Thumbnail]]:
    """Every slice through an Inspector; errors are collected, not raised."""
    inspector, shown = Inspector(description), list[Thumbnail]()
    errors, owner = list[str](), dict[tuple[str, int], str]()
    try:
        check_description(description)
        provide_phantom(description)
        if not description.volumes:
            raise FibsegError("data.volumes: empty; expected at least one volume.")
    except FibsegError as error:
        return [Finding("error", str(error))], inspector, shown
    for index, volume in enumerate(description.volumes):
        try:
            reader = VolumeReader(description, index)
            positions = split_positions(volume, reader, f"data.volumes[{index}]")
            if volume.second_expert is not None:
                read_second_expert(description, index)
        except FibsegError as error:
            errors.append(str(error))
            continue
        place = image_place(description, index)
        for split, own in positions.items():
            for z in own:
                if owner.setdefault((place, z), split) != split:
                    errors.append(f"data: slice {z} of {volume.image} is in both {owner[place, z]} and {split}.")
        errors += _look_at_volume(index, reader, positions, inspector, shown, console)
    trained = [one for one in inspector.slices if one.split == "train"]
    if not errors:
        for split in ("train", "validation"):
            if not any(one.split == split for one in inspector.slices):
                errors.append(f"data: no slice in the {split} split; every description needs one.")
        if trained and inspector.window() is None:
            errors.append("data.intensity: the training slices have one grey value only.")
        for number, name in enumerate(inspector.names[1:], 1):
            if trained and not any(one.shares[number] for one in trained):
                errors.append(f"data: class {name} does not occur in the training slices.")
    found = [Finding("error", text) for text in errors]
    return found + voxel_findings(description) + inspector.findings(), inspector, shown


def _look_at_volume(
    index: int, reader: VolumeReader, positions: dict[str, list[int]], inspector: Inspector, shown: list[Thumbnail],
    console: Console,
) -> list[str]:  # fmt: skip
    """Slices that are in no split are read too: they tell whether objects continue."""
    used = sorted({z for own in positions.values() for z in own})
    chosen = {used[round(k * (len(used) - 1) / max(1, SHOWN - 1))] for k in range(SHOWN)} if used else set()
    errors, doubtful = list[str](), 0
    every = range(*reader.annotated)
    for z in track(every, f"volume {index}", console=console, disable=not console.is_terminal, transient=True):
        split = slice_split(positions, z)
        try:
            one = reader.read(z)
        except FibsegError as error:
            if split:
                errors.append(str(error))
            continue
        facts = inspector.add(one, split)
        empty = bool(split) and facts.foreground == 0
        doubtful += empty
        if z in chosen or (empty and doubtful <= SHOWN):
            shown.append(thumbnail(facts, one.image, one.labels))
        if len(errors) >= SHOWN:
            errors[-1] += " Further slices were not read."
            break
    return errors


def volume_table(description: DataDescription, inspector: Inspector) -> Table:
    """A line per volume and split."""
    names = [Column(escape(name), overflow="fold") for name in inspector.names]
    title = escape(f"data {description.name}; shares of the annotated pixels")
    table = Table("vol.", "split", "slices", "seen", *names, title=title)
    for index in range(len(description.volumes)):
        for split in (*SPLITS, ""):
            own = [one for one in inspector.slices if (one.volume, one.split) == (index, split)]
            if own and (split or any(one.annotated for one in own)):
                shares = np.mean([one.shares for one in own], axis=0)
                annotated = float(np.mean([one.annotated for one in own]))
                cells = [f"{share:.2%}" for share in shares]
                table.add_row(str(index), split or "(none)", _ranges(own), f"{annotated:.0%}", *cells)
    return table


def _ranges(slices: list[SliceFacts]) -> str:
    """Positions, shortened: 0 to 39."""
    first, last = min(one.z for one in slices), max(one.z for one in slices)
    return f"{len(slices)} ({first} to {last})" if len(slices) > 1 else f"1 ({first})"


def new(options: argparse.Namespace) -> None:
    """Write a commented data description from what is in the files."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", options.name):
        raise FibsegError(f"{options.name}: no name for a data description; expected letters, digits, . _ and -.")
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
    console.print(told(found))
    if found.voxel_size is None:
        console.print("voxel size: neither file tells; write it in place of ???, or give --voxel-size z,y,x in nm")
    if IGNORE not in found.values and len(found.annotated) < found.labelled:
        missing = found.labelled - len(found.annotated)
        console.print(f"{missing} slices are all 0 and left out of the splits: not annotated?")
    console.print(f"{path}: read it{'' if names else ', name the classes'}, then\n  fibseg check {path}")
    if path.parent.name != "data":
        console.print(f"For train.py move it into a folder DIR/data, and give --config-dir=DIR data={path.stem}")
        return
    more = "" if path.parent.parent == CONF else f" --config-dir={path.parent.parent}"
    console.print(f"  python train.py{more} data={path.stem} experiment=quick")


def told(found: Sketch) -> str:
    """What was found, in a few lines."""
    values = ", ".join(f"{value} ({share:.2%})" for value, share in found.values.items())
    splits = ", ".join(f"{len(own)} {split}" for split, own in found.positions.items())
    return f"label values: {values}\nslices with labels: {len(found.annotated)} of {found.depth}; {splits}"


def bring(options: argparse.Namespace) -> None:
    """Labels of another program as a TIFF of class numbers, and their entry for a data description."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    output = Path(options.output)
    check_output(output, options.overwrite, "--overwrite")
    source = open_labels(options.labels)
    table = class_table(options, source)
    if options.image:
        part_of(open_stack(options.image), options.offset or [0, 0, 0], source.stack.shape)  # do they lie in it?
    unlabelled = [*(options.unlabelled or []), *(v for v in source.unlabelled if v not in options.background)]
    empty = options.empty_slices or source.empty_slices
    done = import_labels(source.stack, table, options.background, unlabelled, empty == "unlabelled", output)
    console.print(f"{source.program}: {source.stack.name}, {source.stack.shape}")
    console.print(f"{output}: {done.annotated} of {source.stack.shape[0]} slices annotated; values")
    for number, (name, values) in enumerate(table.items(), 1):
        console.print(
            f"  {number}  {name} (was {', '.join(map(str, values))}): {done.shares[number]:.2%} of what is annotated"
        )
    console.print(f"  0  background: {done.shares[0]:.2%} of the annotated")
    console.print(f"  {IGNORE}  nobody looked at it: {done.ignored:.2%} of all pixels")
    if 0 not in unlabelled and done.annotated > 0:
        console.print("  0 inside a painted slice is taken as background; if nobody looked there, give --unlabelled 0")
    image = options.image or "???"
    offset = list(options.offset or [0, 0, 0])
    classes = "".join(f"  {in_yaml(name)}: {{label: {k}, weight: 1.0}}\n" for k, name in enumerate(table, 1))
    told = source.stack.voxel_size or (open_stack(options.image).voxel_size if options.image else None)
    size = list(told) if told else "???"
    console.print(
        f"\nclasses:\n{classes}background: {{labels: [0], weight: 0.1}}\nignore: {IGNORE}\nvolumes:\n"
        f"  - image: {image}\n    labels: {output}\n    offset: {offset}\n    voxel_size: {size}\n    split: ???"
    )
    if options.image:
        console.print(f"\nOr let them be found: fibseg new NAME {options.image} {output}")


def named_classes(entries: list[str] | None) -> dict[str, list[int]]:
    """What --class says: class -> label values."""
    table: dict[str, list[int]] = {}
    for entry in entries or []:
        name, _, values = entry.partition("=")
        try:
            table.setdefault(name.strip(), []).extend(int(value) for value in values.split(","))
        except ValueError:
            raise FibsegError(f"--class {entry}: expected NAME=VALUE, as mitochondrion=1 or er=3,4.") from None
    return table


def one_value_each(table: dict[str, list[int]]) -> dict[int, str]:
    """Value -> class; FibsegError where a class has several, or a value several classes, or is the background."""
    found: dict[int, str] = {}
    for name, values in table.items():
        if not name or name == "background":
            raise FibsegError(f"--class {name}={values[0]}: no name of a class.")
        if len(values) > 1:
            raise FibsegError(f"--class {name}: several values; bring them together with fibseg import.")
        if values[0] == 0 or values[0] in found:
            raise FibsegError(f"--class {name}={values[0]}: the value is taken; 0 is the background.")
        found[values[0]] = name
    return found


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
        raise FibsegError(f"{source.stack.name}: it names no classes; give them as --class mitochondrion=1.")
    return table
