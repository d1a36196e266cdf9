"""Components of finished runs, from their components.csv: found, missed and false ones at any threshold."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison import Run
from fibseg.components import Detection
from fibseg.errors import FibsegError
from fibseg.runs import COMPONENT_COLUMNS, RunDirectory
from fibseg.scoring import HIGH, LOW


class Found(Detection):
    """Counts of components: those of the truth as in `Detection`; predicted ones in the same bins, merges and splits.

    right, partly: predicted components with a share above `high`, or between the two, in the truth; `fp` are the rest.
    merges: predicted ones that meet several of the truth; splits: true ones that several predicted ones meet.
    """

    right: int
    partly: int
    merges: int
    splits: int


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


def components_of(run: Run, split: str, name: str) -> Components:
    """Components of one class in one split.

    Raises:
        FibsegError: components.csv is missing or damaged.
    """
    path = RunDirectory(run.path).components
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error
    return _read(path, changed).get((split, name), Components(np.zeros(0, bool), *np.zeros((5, 0), np.int64)))


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


def detections(
    run: Run,
    split: str,
    high: float = HIGH,
    low: float = LOW,
    smallest: int = 1,
    places: Sequence[tuple[int, int]] | None = None,
) -> dict[str, Found]:
    """Components of each class, from components.csv.

    Args:
        run: whose file is read.
        split: validation or test.
        high: share of a component above which it is found.
        low: share below which it is missed, or false.
        smallest: components of fewer pixels are left out, on both sides.
        places: (volume, slice) to look at; all of the split for None.
    """
    found = {name: components_of(run, split, name) for name in run.names[1:]}
    if places is not None:
        found = {name: one.on(places) for name, one in found.items()}
    return {name: count(one.among(one.area >= smallest), high, low) for name, one in found.items()}


def in_strata(
    run: Run, split: str, edges: Sequence[int], high: float = HIGH, low: float = LOW, smallest: int = 1
) -> dict[str, dict[str, Found]]:
    """`detections` of each class by the component's own area: {"er": {"1 to 99": ..., "100 or more": ...}}.

    The edges are areas in pixels at which a new stratum begins; `smallest` begins the first one.
    """
    starts = [smallest, *(edge for edge in sorted(set(edges)) if edge > smallest)]
    ranges = {f"{one} to {following - 1}": (one, following) for one, following in pairwise(starts)}
    ranges[f"{starts[-1]} or more"] = (starts[-1], 2**62)
    counts = {}
    for name in run.names[1:]:
        every = components_of(run, split, name)
        counts[name] = {
            label: count(every.among((every.area >= first) & (every.area < end)), high, low)
            for label, (first, end) in ranges.items()
        }
    return counts


def count(components: Components, high: float, low: float) -> Found:
    """How many are found, missed, false and between, by their shares."""
    truth, predicted = components.among(components.of_truth), components.among(~components.of_truth)
    bins = [[int(np.sum(chosen)) for chosen in _bins(side, high, low)] for side in (truth, predicted)]
    (tp, ud, fn), (right, partly, fp) = bins
    merges, splits = (int((side.touched > 1).sum()) for side in (predicted, truth))
    return Found(tp=tp, fn=fn, ud=ud, fp=fp, right=right, partly=partly, merges=merges, splits=splits)


def _bins(side: Components, high: float, low: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    above, below = side.share > high, side.share < low
    return above, ~above & ~below, below
