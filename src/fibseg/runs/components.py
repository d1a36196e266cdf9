"""components.csv of a run: connected components of truth and prediction, written and read.

A run may also hold the same rows compressed, as components.csv.gz: 7 times smaller, for runs that
are kept in a repository. The plain file is read where both exist.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from fibseg.arrays import Floats, Ints, Mask, Place
from fibseg.errors import FibsegError
from fibseg.files import replacing
from fibseg.runs.directory import RunDirectory
from fibseg.spreadsheets import text_cell, text_of_cell

if TYPE_CHECKING:
    from fibseg.scores.slices import SplitScore

COMPONENT_COLUMNS = (
    "split",
    "volume",
    "slice",
    "class",
    "of",
    "area",
    "row",
    "column",
    "overlap",
    "touched",
)
"""Columns of the file, a contract of docs/ARCHITECTURE.md."""

_NUMBER_COLUMNS = ("area", "overlap", "touched", "volume", "slice")
"""Columns of the file that are read as numbers, in the order of the fields of `Components`."""

# A compressed file that is cut off raises EOFError, one with flipped bits zlib.error or OSError.
_DAMAGE = (OSError, EOFError, zlib.error, csv.Error, ValueError, IndexError, OverflowError)


def write_components(
    run: RunDirectory, scores: dict[str, SplitScore], class_names: Sequence[str]
) -> None:
    """Write components.csv: a row per 2-D component of truth and prediction.

    `scores` are by split; the background is the first of the `class_names`.
    """
    with (
        # Whole or not at all: a comparison may read the directory while the run is written.
        replacing(run.components, durable=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COMPONENT_COLUMNS)
        for split, score in scores.items():
            for of_slice, components in zip(score.slices, score.components, strict=True):
                for component in components:
                    values = {
                        **component,
                        **of_slice,
                        "split": split,
                        "class": text_cell(class_names[component["class_index"]]),
                    }
                    writer.writerow([values[column] for column in COMPONENT_COLUMNS])


@dataclass(frozen=True)
class Components:
    """Columns of N components.

    Attributes:
        of_truth: (N,) True for a component of the truth, False for a predicted one.
        area: (N,) in pixels.
        overlap: (N,) pixels that the opposite side has in the same class.
        touched: (N,) components of that class on the opposite side that it meets.
        volume: (N,) of the data description.
        z: (N,) slice in the volume.
    """

    of_truth: Mask
    area: Ints
    overlap: Ints
    touched: Ints
    volume: Ints
    z: Ints

    @property
    def share(self) -> Floats:
        """Share (N,) of its pixels that the opposite side has, 0 to 1."""
        return self.overlap / self.area

    def among(self, chosen: Mask) -> Components:
        """Components for which `chosen` (N,) is True."""
        return Components(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def on(self, places: Sequence[Place]) -> Components:
        """Components on these slices."""
        wanted = set(places)
        # A Place equals the plain tuple of its numbers, also as a member of a set.
        pairs = zip(self.volume.tolist(), self.z.tolist(), strict=True)
        return self.among(np.array([pair in wanted for pair in pairs], bool))


def components_file(run: RunDirectory) -> Path:
    """The file that holds the components of a run: the plain one, else the compressed one."""
    if run.components.exists() or not run.packed_components.exists():
        return run.components
    return run.packed_components


def components_of(directory: Path, split: str, class_name: str) -> Components:
    """Read the components of one class in one split of a run.

    Raises:
        FibsegError: components.csv and components.csv.gz are missing, or the file is damaged.
    """
    path = components_file(RunDirectory(directory))
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise FibsegError(f"{path}: cannot be read ({error.strerror}).") from error
    # A class may be in no slice and predicted nowhere: no rows, but no damage.
    none = Components(np.zeros(0, bool), *np.zeros((5, 0), np.int64))
    return _read(path, modified).get((split, class_name), none)


# Tables and charts ask class by class and split by split; a file is read once for all of them. The
# time of its last change is an argument so that a changed file is read again.
@cache
def _read(path: Path, _modified: int) -> dict[tuple[str, str], Components]:
    """Components by split and class."""
    # Centroids are left out: no table reads them, and there may be a million rows.
    wanted = [COMPONENT_COLUMNS.index(name) for name in ("split", "class", "of", *_NUMBER_COLUMNS)]
    groups: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    try:
        with _open(path) as file:
            reader = csv.reader(file)
            # Rows are read by position, so that another order of the columns must not pass.
            if tuple(next(reader, ())) != COMPONENT_COLUMNS:
                raise FibsegError(f"{path}: not the components of a run.")
            for row in reader:
                split, class_name, *values = (row[k] for k in wanted)
                key = (split, text_of_cell(class_name))
                groups.setdefault(key, []).append(tuple(values))
        return {key: _columns(rows) for key, rows in groups.items()}
    except _DAMAGE as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        # The csv module asks for newline="", and handles the ends of lines itself.
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _columns(rows: list[tuple[str, ...]]) -> Components:
    """Columns from rows of texts: `of` and the numbers."""
    sides, *numbers = zip(*rows, strict=True)
    columns = [np.array(column, np.int64) for column in numbers]
    # A share of 0 pixels would be 0 / 0.
    if (columns[0] < 1).any():
        raise ValueError("a component without pixels")
    return Components(np.array(sides) == "truth", *columns)
