"""`fibseg check`, `fibseg new` and `fibseg import`: from a person's files to a data description that can be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from fibseg.config.compose import load_description
from fibseg.data.description import SPLITS, DataDescription, check_description
from fibseg.data.grey import GreyRange
from fibseg.data.inspection import Finding, Inspector, SliceFacts, slice_split, voxel_findings
from fibseg.data.slices import (
    VolumeReader,
    image_place,
    provide_phantom,
    read_second_expert,
    split_positions,
)
from fibseg.errors import FibsegError
from fibseg.pages.check import Thumbnail, thumbnail, write_page

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
        console.print(split_table(description, inspector))
    for one in findings:
        console.print(f"{one.level}: {one.text}", markup=False, highlight=False, soft_wrap=True)
    window = inspector.window() or GreyRange(0.0, 1.0)
    if description.intensity.per == "slice":
        window = GreyRange(
            window.low, window.high, (description.intensity.low, description.intensity.high)
        )
    write_page(
        page, f"Data {description.name}", inspector.names, inspector.slices, shown, findings, window
    )
    console.print(
        f"{page}: is this what you painted?", markup=False, highlight=False, soft_wrap=True
    )
    errors = sum(one.level == "error" for one in findings)
    if errors:
        raise FibsegError(
            f"{errors} error{'s' * (errors > 1)} in the data description {options.data}, see above."
        )


def look(
    description: DataDescription, console: Console
) -> tuple[list[Finding], Inspector, list[Thumbnail]]:
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
                    errors.append(
                        f"data: slice {z} of {volume.image} is in both {owner[place, z]} and {split}."
                    )
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
    index: int,
    reader: VolumeReader,
    positions: dict[str, list[int]],
    inspector: Inspector,
    shown: list[Thumbnail],
    console: Console,
) -> list[str]:
    """Slices that are in no split are read too: they tell whether objects continue."""
    used = sorted({z for own in positions.values() for z in own})
    chosen = (
        {used[round(k * (len(used) - 1) / max(1, SHOWN - 1))] for k in range(SHOWN)}
        if used
        else set()
    )
    errors, doubtful = list[str](), 0
    every = range(*reader.annotated)
    for z in track(
        every, f"volume {index}", console=console, disable=not console.is_terminal, transient=True
    ):
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


def split_table(description: DataDescription, inspector: Inspector) -> Table:
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
                table.add_row(
                    str(index), split or "(none)", _ranges(own), f"{annotated:.0%}", *cells
                )
    return table


def _ranges(slices: list[SliceFacts]) -> str:
    """Positions, shortened: 0 to 39."""
    first, last = min(one.z for one in slices), max(one.z for one in slices)
    return f"{len(slices)} ({first} to {last})" if len(slices) > 1 else f"1 ({first})"
