"""Components of finished runs, from their components.csv: found, missed and false ones at any threshold."""

from __future__ import annotations

import csv
from collections.abc import Iterator

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


def detections(run: Run, split: str, high: float = HIGH, low: float = LOW, smallest: int = 1) -> dict[str, Found]:
    """Components of each class, from components.csv.

    Args:
        run: whose file is read.
        split: validation or test.
        high: share of a component above which it is found.
        low: share below which it is missed, or false.
        smallest: components of fewer pixels are left out, on both sides.
    """
    counts = {name: Found(tp=0, fn=0, ud=0, fp=0, right=0, partly=0, merges=0, splits=0) for name in run.names[1:]}
    for name, of, area, overlap, touched in component_rows(run, split):
        if area >= smallest:
            _count(counts[name], of, overlap / area, touched > 1, high, low)
    return counts


def component_rows(run: Run, split: str) -> Iterator[tuple[str, str, int, int, int]]:
    """Class, truth or prediction, area, overlap and number of others met, of each component of a split.

    Raises:
        FibsegError: components.csv is missing or damaged.
    """
    path = RunDirectory(run.path).components
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COMPONENT_COLUMNS:
                raise FibsegError(f"{path}: not the components of a run.")
            for row in reader:
                area = int(row["area"])
                if row["split"] == split and row["class"] in run.names[1:] and area > 0:
                    yield row["class"], row["of"], area, int(row["overlap"]), int(row["touched"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise FibsegError(f"{path}: damaged ({error}).") from error


def _count(found: Found, of: str, share: float, several: bool, high: float, low: float) -> None:
    if of == "truth":
        found["tp"] += share > high
        found["fn"] += share < low
        found["ud"] += low <= share <= high
        found["splits"] += several
    else:
        found["right"] += share > high
        found["fp"] += share < low
        found["partly"] += low <= share <= high
        found["merges"] += several
