"""The table of measured objects: a row each, as CSV text or as a Parquet file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.bodies.shapes import ObjectShapes
from fibseg.scores.bodies.skeletons import Skeleton
from fibseg.scores.measures import NANOMETRES, Units
from fibseg.spreadsheets import text_cell

_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class ObjectTable:
    """Measures of N objects.

    Attributes:
        columns: name -> values (N,); NaN or None where there is none.
    """

    columns: Mapping[str, Sequence[Any]]

    def csv(self) -> str:
        """Write a line of names, then one per object; a cell without a value is empty."""
        text = io.StringIO()
        # The csv module's own line end is that of Windows.
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        cells = [[_cell(name, value) for value in column] for name, column in self.columns.items()]
        writer.writerows(zip(*cells, strict=True))
        return text.getvalue()

    def write_parquet(self, path: Path) -> None:
        """Write a Parquet file; `check_parquet` says beforehand whether it can be."""
        import pyarrow
        from pyarrow import parquet

        # Texts and numbers as they are: NaN becomes null, as an empty cell is.
        arrays = {
            name: pyarrow.array(list(column), from_pandas=True)
            for name, column in self.columns.items()
        }
        parquet.write_table(pyarrow.table(arrays), path)


def check_parquet() -> None:
    """Check that Parquet files can be written.

    Raises:
        FibsegError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise FibsegError(
            "--parquet: needs pyarrow, which is not installed; install fibseg[parquet], or use "
            "the CSV."
        ) from None


@dataclass(frozen=True)
class MoreMeasures:
    """What is measured on request; None for what is not.

    Attributes:
        shapes: surfaces, contacts and axes.
        skeletons: number of an object -> its skeleton.
        distances: (N, K) to each class.
    """

    shapes: ObjectShapes | None = None
    skeletons: Mapping[int, Skeleton] | None = None
    distances: Any = None


def object_table_of(
    objects: NumberedObjects,
    class_names: Sequence[str],
    rule: str,
    more: MoreMeasures,
    units: Units = NANOMETRES,
) -> ObjectTable:
    """Put the measures of objects into one table.

    Args:
        objects: with the measures of every table. Centres are distances from the corner of the
            stack.
        class_names: of the K foreground classes.
        rule: which objects are in the table; said in each row, so that no copy loses it.
        more: further measures.
        units: of the columns.
    """
    measures = objects.measures
    spacing = np.array(objects.spacing)
    volume = measures.voxels * float(np.prod(spacing))
    # `high` is the last voxel itself, not the one after it.
    extent = (measures.high - measures.low + 1) * spacing
    # Positions are those of voxel centres, half a voxel from the corner of the first voxel.
    centre = (measures.centre + 0.5) * spacing
    numbers = range(1, objects.count + 1)
    columns: dict[str, Sequence[Any]] = {
        "object": list(numbers),
        # Class indices begin with 1, the names with the first foreground class.
        "class": [class_names[index - 1] for index in measures.class_index.tolist()],
        "voxels": measures.voxels.tolist(),
        f"volume_{units.volume}": (volume / units.per_volume).tolist(),
        f"surface_{units.area}": (measures.surface / units.per_area).tolist(),
        **{f"extent_{axis}_{units.length}": extent[:, k].tolist() for k, axis in enumerate(_AXES)},
        **{f"centre_{axis}_{units.length}": centre[:, k].tolist() for k, axis in enumerate(_AXES)},
        "touches_border": ["yes" if border else "no" for border in measures.border],
    }
    if more.skeletons is not None and more.shapes is not None:
        skeletons = [more.skeletons.get(number) for number in numbers]
        columns |= {
            "sphericity": more.shapes.sphericity(volume).tolist(),
            "elongation": more.shapes.elongation.tolist(),
            f"skeleton_{units.length}": [entry and entry.length for entry in skeletons],
            "branches": [entry and entry.branches for entry in skeletons],
        }
    if more.distances is not None and more.shapes is not None:
        for k, name in enumerate(class_names):
            contact = more.shapes.contact[:, k] / units.per_area
            columns[f"contact_{name}_{units.area}"] = contact.tolist()
        for k, name in enumerate(class_names):
            # The only class has no other one to be distant from.
            if np.isfinite(more.distances[:, k]).any():
                columns[f"distance_{name}_{units.length}"] = more.distances[:, k].tolist()
    return ObjectTable(columns | {"rule": [rule] * objects.count})


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return text_cell(value)
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        # Lengths in nm to a tenth; all others to six digits.
        return f"{value:.1f}" if name.endswith("_nm") else f"{value:.6g}"
    return value
