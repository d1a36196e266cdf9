"""components.csv of a run: connected components of truth and prediction, written and read."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.files import replacing
from fibseg.runs.directory import RunDirectory
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


def write_components(
    run: RunDirectory, scores: dict[str, SplitScore], class_names: Sequence[str]
) -> None:
    """components.csv: a row per 2-D component of truth and prediction, in COMPONENT_COLUMNS."""
    with (
        replacing(run.components) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COMPONENT_COLUMNS)
        for split, score in scores.items():
            for place, components in zip(score.slices, score.components, strict=True):
                for one in components:
                    values = {
                        **one,
                        "split": split,
                        **place,
                        "class": class_names[one["class_index"]],
                    }
                    writer.writerow([values[column] for column in COMPONENT_COLUMNS])


@dataclass(frozen=True)
class Components:
    """Columns of some components, all (N,).

    Attributes:
        of_truth: True for a component of the truth, False for a predicted one.
        area: in pixels.
        overlap: pixels that the other side has in the same class.
        touched: components of that class on the other side that it meets.
        volume, z: where it lies.
    """

    of_truth: NDArray[np.bool_]
    area: NDArray[np.int64]
    overlap: NDArray[np.int64]
    touched: NDArray[np.int64]
    volume: NDArray[np.int64]
    z: NDArray[np.int64]

    @property
    def share(self) -> NDArray[np.float64]:
        """Of its pixels that the other side has."""
        return self.overlap / self.area

    def among(self, chosen: NDArray[np.bool_]) -> Components:
        """Those where `chosen` (N,) is True."""
        return Components(*(getattr(self, one.name)[chosen] for one in fields(self)))

    def on(self, places: Sequence[tuple[int, int]]) -> Components:
        """Those on these (volume, slice)."""
        wanted = set(places)
        pairs = zip(self.volume.tolist(), self.z.tolist(), strict=True)
        return self.among(np.array([pair in wanted for pair in pairs], bool))


NUMBERS = ("area", "overlap", "touched", "volume", "slice")
"""Columns of the file, in the order of `Components`."""


def components_of(directory: Path, split: str, name: str) -> Components:
    """Components of one class in one split.

    Raises:
        FibsegError: components.csv is missing or damaged.
    """
    path = RunDirectory(directory).components
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error
    return _read(path, changed).get(
        (split, name), Components(np.zeros(0, bool), *np.zeros((5, 0), np.int64))
    )


@cache
def _read(path: Path, _changed: int) -> dict[tuple[str, str], Components]:
    """Components by split and class; read once, and again where the file has changed."""
    wanted = [COMPONENT_COLUMNS.index(name) for name in ("split", "class", "of", *NUMBERS)]
    groups: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COMPONENT_COLUMNS:
                raise FibsegError(f"{path}: not the components of a run.")
            for row in reader:
                split, name, *values = (row[k] for k in wanted)
                groups.setdefault((split, name), []).append(tuple(values))
        return {key: _columns(rows) for key, rows in groups.items()}
    except (OSError, ValueError, IndexError, OverflowError, csv.Error) as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error


def _columns(rows: list[tuple[str, ...]]) -> Components:
    """From `of` and NUMBERS as text."""
    sides, *numbers = zip(*rows, strict=True)
    columns = [np.array(column, np.int64) for column in numbers]
    if (columns[0] < 1).any():
        raise ValueError("a component without pixels")
    return Components(np.array(sides) == "truth", *columns)
