"""Measures of 3-D objects in physical units: a row per object as CSV, and a summary per class."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Floats, Ints, Mask
from fibseg.spreadsheets import text_cell

OBJECT_COLUMNS = (
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
"""Columns of the CSV of `objects_csv`."""

_NM3_PER_UM3 = 1e9
_NM2_PER_UM2 = 1e6


@dataclass(frozen=True)
class ObjectMeasures:
    """Columns of N objects, in the order of their first voxels.

    Attributes:
        class_index: (N,) their classes, from 1.
        voxels: (N,) their sizes.
        low: (N, 3) first voxel along z, y, x.
        high: (N, 3) last voxel along z, y, x.
        centre: (N, 3) mean position along z, y, x, in voxels.
        surface: (N,) area in nm^2 of the mesh that marching cubes lays half way between inside and
            outside; what leaves the stack is closed at its border.
        border: (N,) whether it touches a side of the stack, where it may continue.
    """

    class_index: Ints
    voxels: Ints
    low: Ints
    high: Ints
    centre: Floats
    surface: Floats
    border: Mask


def objects_csv(
    measures: ObjectMeasures, class_names: Sequence[str], spacing: tuple[float, float, float]
) -> str:
    """Write objects as CSV text: OBJECT_COLUMNS, then a row per object.

    `class_names` are those of the foreground classes; `spacing` is the size of a voxel (z, y, x) in
    nm. Centres are distances from the corner of the stack.
    """
    text = io.StringIO()
    # The csv module's own line end is that of Windows.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(OBJECT_COLUMNS)
    volume = measures.voxels * float(np.prod(spacing)) / _NM3_PER_UM3
    # `high` is the last voxel itself, not the one after it.
    extent = (measures.high - measures.low + 1) * np.array(spacing)
    # Positions are those of voxel centres, half a voxel from the corner of the first voxel.
    centre = (measures.centre + 0.5) * np.array(spacing)
    for k in range(len(measures.voxels)):
        writer.writerow(
            [
                k + 1,
                # Class indices begin with 1, the names with the first foreground class.
                text_cell(class_names[int(measures.class_index[k]) - 1]),
                int(measures.voxels[k]),
                f"{volume[k]:.6g}",
                f"{measures.surface[k] / _NM2_PER_UM2:.6g}",
                *(f"{length:.1f}" for length in (*extent[k], *centre[k])),
                "yes" if measures.border[k] else "no",
            ]
        )
    return text.getvalue()


@dataclass(frozen=True)
class ClassMeasures:
    """The objects of one class together.

    Attributes:
        name: of the class.
        objects: how many there are.
        at_border: how many of them touch a side of the stack.
        volume: of all of them, in µm^3.
        share: of the stack's voxels, 0 to 1.
        median: volume of the median object in µm^3; None without an object.
        surface: of all of them, in µm^2.
    """

    name: str
    objects: int
    at_border: int
    volume: float
    share: float
    median: float | None
    surface: float


def measure_classes(
    measures: ObjectMeasures,
    class_names: Sequence[str],
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> list[ClassMeasures]:
    """Summarise objects by class, an entry per foreground class in order.

    `spacing` is the size of a voxel (z, y, x) in nm, `shape` (Z, H, W) that of the stack.
    """
    voxel = float(np.prod(spacing)) / _NM3_PER_UM3
    # A class without an object is an entry too: that there is none is a result.
    summaries = []
    for index, name in enumerate(class_names, 1):
        of_class = measures.class_index == index
        voxels = measures.voxels[of_class]
        summaries.append(
            ClassMeasures(
                name=name,
                objects=int(of_class.sum()),
                at_border=int(measures.border[of_class].sum()),
                volume=float(voxels.sum() * voxel),
                share=float(voxels.sum() / np.prod(shape)),
                # The median of nothing would be NaN with a warning.
                median=float(np.median(voxels) * voxel) if of_class.any() else None,
                surface=float(measures.surface[of_class].sum() / _NM2_PER_UM2),
            )
        )
    return summaries
