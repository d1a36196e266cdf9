"""Measures of 3-D objects in physical units, and a summary per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Floats, Ints, Mask


@dataclass(frozen=True)
class Units:
    """Units of a table, and how many of the smallest one they hold.

    Attributes:
        length: ending of the name of a column, as nm.
        area: likewise, as um2.
        volume: likewise, as um3.
        volume_text: for people.
        area_text: for people.
        per_area: nm^2 in a unit of area.
        per_volume: nm^3 in a unit of volume.
    """

    length: str
    area: str
    volume: str
    area_text: str
    volume_text: str
    per_area: float
    per_volume: float


NANOMETRES = Units(
    length="nm",
    area="um2",
    volume="um3",
    area_text="µm²",
    volume_text="µm³",
    per_area=1e6,
    per_volume=1e9,
)
"""Where the size of a voxel is known."""

VOXELS = Units(
    length="voxels",
    area="voxel_faces",
    volume="voxels",
    area_text="voxel faces",
    volume_text="voxels",
    per_area=1.0,
    per_volume=1.0,
)
"""Where it is not: a voxel counts as a cube of side 1."""


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


@dataclass(frozen=True)
class ClassMeasures:
    """The objects of one class together.

    Attributes:
        name: of the class.
        objects: how many there are.
        at_border: how many of them touch a side of the stack.
        volume: of all of them, in the unit of volume.
        share: of the stack's voxels, 0 to 1.
        median: volume of the median object; None without an object.
        surface: of all of them, in the unit of area.
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
    units: Units = NANOMETRES,
) -> list[ClassMeasures]:
    """Summarise objects by class, an entry per foreground class in order.

    Args:
        measures: of the objects.
        class_names: of the foreground classes.
        spacing: size of a voxel (z, y, x) in nm.
        shape: (Z, H, W) of the stack.
        units: of volume and surface.
    """
    voxel = float(np.prod(spacing)) / units.per_volume
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
                surface=float(measures.surface[of_class].sum() / units.per_area),
            )
        )
    return summaries
