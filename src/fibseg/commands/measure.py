"""`fibseg measure`: count, volume and surface of the organelles in a label stack."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fibseg.arrays import IGNORE
from fibseg.config.compose import load_description
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.scores.objects import Objects, Objects3D
from fibseg.stack import Stack, check_output, open_stack, read_notes, stack_writer

COLUMNS = (
    "object",
    "class",
    "voxels",
    "volume_um3",
    "surface_um2",
    "extent_z_nm",
    "extent_y_nm",
    "extent_x_nm",
    "centre_z_nm",
    "centre_y_nm",
    "centre_x_nm",
    "touches_border",
)


def measure_labels(options: argparse.Namespace) -> None:
    """Write a table of objects, a stack of their numbers where it is asked for, and print a summary."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    stack = open_stack(options.labels)
    size = options.voxel_size or stack.voxel_size
    if size is None:
        raise FibsegError(f"{stack.name} tells no voxel size; give --voxel-size z,y,x in nm.")
    if min(size) <= 0:
        raise FibsegError(f"--voxel-size: {list(size)}; expected three sizes above 0, in nm.")
    if options.smallest < 1:
        raise FibsegError(f"--smallest: {options.smallest}; expected 1 voxel or more.")
    output = Path(options.output or f"{Path(options.labels).stem}-objects.csv")
    if output.exists() and not options.overwrite:
        raise FibsegError(f"{output}: exists already; give another --output, or --overwrite.")
    if options.instances:
        check_output(Path(options.instances), options.overwrite, "--overwrite")
    names = names_of_values(stack, options, console)
    spacing = (float(size[0]), float(size[1]), float(size[2]))
    if not names:
        raise FibsegError(f"{stack.name}: nothing but background; there is nothing to measure.")
    if len(names) >= IGNORE:
        raise FibsegError(f"{stack.name}: {len(names)} values; name the classes with --data.")
    values = np.array(sorted(names))
    names = {value: names[value] for value in sorted(names)}
    found = Objects3D(
        lambda z: _indices(stack, z, values),
        stack.shape,
        spacing,
        options.smallest,
        options.fill_holes,
    )
    write_whole(output, as_csv(found.objects, list(names.values()), spacing))
    console.print(summary(found.objects, list(names.values()), spacing, stack.shape))
    console.print(
        f"{output}: {len(found.objects.voxels)} objects",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if options.instances:
        path = Path(options.instances)
        with stack_writer(path, stack.shape, "uint32", list(spacing)) as writer:
            for numbers in found.instances():
                writer.write(numbers)
        console.print(
            f"{path}: the number of its object at each voxel",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _indices(stack: Stack, z: int, values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Class indices of a slice, 1 for the smallest of the values; values that are no class become 0."""
    labels = stack.read(z).astype(np.int64)
    place = np.searchsorted(values, labels).clip(0, len(values) - 1)
    return np.where(values[place] == labels, place + 1, 0).astype(np.uint8)


def names_of_values(stack: Stack, options: argparse.Namespace, console: Console) -> dict[int, str]:
    """Label value -> name: of a data description, of what predict.py told in the file, or every value there is."""
    if options.data:
        return {one.label: name for name, one in load_description(options.data).classes.items()}
    path = Path(options.labels)
    notes = (
        read_notes(path)
        or (read_notes(path.parent) if path.parent.suffix == ".zarr" else None)
        or {}
    )
    if isinstance(notes.get("classes"), dict):
        told = {int(value): str(name) for value, name in notes["classes"].items()}
        return {value: name for value, name in told.items() if name != "background"}
    if stack.dtype.kind not in "uib":
        raise FibsegError(f"{stack.name}: values of type {stack.dtype}; expected labels.")
    values = set[int]().union(*(np.unique(one).tolist() for one in stack)) - {0}
    if len(values) > 1 and IGNORE in values:
        console.print(
            f"{IGNORE} is left out: pixels that nobody annotated; a description (--data) may name it as a class"
        )
        values.discard(IGNORE)
    return {value: str(value) for value in sorted(values)}


def as_csv(objects: Objects, names: Sequence[str], spacing: tuple[float, float, float]) -> str:
    """A row per object, in COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    volume = objects.voxels * float(np.prod(spacing)) / 1e9
    extent = (objects.high - objects.low + 1) * np.array(spacing)
    centre = (objects.centre + 0.5) * np.array(spacing)
    for k in range(len(objects.voxels)):
        sizes = [f"{value:.1f}" for value in (*extent[k], *centre[k])]
        measured = [f"{volume[k]:.6g}", f"{objects.surface[k] / 1e6:.6g}", *sizes]
        name = names[int(objects.class_index[k]) - 1]
        writer.writerow(
            [k + 1, name, int(objects.voxels[k]), *measured, "yes" if objects.border[k] else "no"]
        )
    return text.getvalue()


def summary(
    objects: Objects,
    names: Sequence[str],
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Table:
    """A row per class."""
    table = Table(
        "class",
        "objects",
        "at the border",
        "volume µm³",
        "of the stack",
        "median µm³",
        "surface µm²",
    )
    table.caption = "objects at the border go on outside: their sizes are of the part that is seen"
    voxel = float(np.prod(spacing)) / 1e9
    for index, name in enumerate(names, 1):
        own = objects.class_index == index
        voxels = objects.voxels[own]
        middle = f"{np.median(voxels) * voxel:.4g}" if own.any() else "-"
        share = f"{voxels.sum() / np.prod(shape):.1%}"
        surface = f"{objects.surface[own].sum() / 1e6:.4g}"
        counts = str(int(own.sum())), str(int(objects.border[own].sum()))
        table.add_row(name, *counts, f"{voxels.sum() * voxel:.4g}", share, middle, surface)
    return table
