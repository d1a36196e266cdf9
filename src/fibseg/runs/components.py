"""components.csv of a run: connected components of truth and prediction, written and read.

A run may also hold the same rows compressed, as components.csv.gz: 7 times smaller, for runs that
are kept in a repository. The plain file is read where both exist.
"""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

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

_USUAL_LETTERS = 16
"""Of the name of a class."""

_SMALL = 2**31

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
    try:
        rows = _rows(path)
        groups = {}
        for split, of_split in _alike(rows["split"]).items():
            for name, of_class in _alike(rows["class"][of_split]).items():
                groups[split, text_of_cell(name)] = _columns(rows[of_split[of_class]])
        return groups
    except _DAMAGE as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error


def _rows(path: Path) -> NDArray[np.void]:
    """Rows (N,) of a file, with texts and whole numbers by the name of their column."""
    # Centroids are left out: no table reads them, and there may be a million rows.
    names = ("split", "class", "of", *_NUMBER_COLUMNS)
    length = _USUAL_LETTERS
    while True:
        texts = [(name, f"U{length}") for name in ("split", "class", "of")]
        numbers = [(name, np.int64) for name in _NUMBER_COLUMNS]
        with _open(path) as file:
            # Rows are read by position, so that another order of the columns must not pass.
            if tuple(next(csv.reader(file), ())) != COMPONENT_COLUMNS:
                raise FibsegError(f"{path}: not the components of a run.")
            with warnings.catch_warnings():
                # A run may have no component at all.
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                # The csv module takes five times as long, which is seconds for a hundred runs.
                rows = np.loadtxt(
                    file,
                    dtype=np.dtype([*texts, *numbers]),
                    comments=None,
                    delimiter=",",
                    usecols=[COMPONENT_COLUMNS.index(name) for name in names],
                    quotechar='"',
                    ndmin=1,
                )
        # NumPy cuts longer texts off without a word.
        longest = max(
            (int(np.char.str_len(rows[name]).max()) for name, _ in texts if len(rows)), default=0
        )
        if longest < length:
            return rows
        length *= 8


def _alike(texts: NDArray[np.str_]) -> dict[str, NDArray[np.intp]]:
    """Text -> positions of the rows that hold it; for few different texts in many rows."""
    positions = {}
    rest = np.arange(len(texts))
    while len(rest):
        text = str(texts[rest[0]])
        is_same = texts[rest] == text
        positions[text] = rest[is_same]
        rest = rest[~is_same]
    return positions


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        # The csv module asks for newline="", and handles the ends of lines itself.
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _columns(rows: NDArray[np.void]) -> Components:
    # A share of 0 pixels would be 0 / 0.
    if (rows["area"] < 1).any():
        raise ValueError("a component without pixels")
    numbers = [rows[name] for name in _NUMBER_COLUMNS]
    if all(column.max() < _SMALL and column.min() >= 0 for column in numbers):
        # Half of the memory: a hundred runs have millions of components.
        numbers = [column.astype(np.int32) for column in numbers]
    return Components(rows["of"] == "truth", *numbers)
