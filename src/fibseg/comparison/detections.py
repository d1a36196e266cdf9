"""Components of finished runs, from their components.csv: found, missed and false ones at any threshold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fibseg.runs.collection import FinishedRun
from fibseg.runs.components import Components, components_of
from fibseg.scores.components import PAPER_BINS, Bins, Detection


class DetectionCounts(Detection):
    """Counts of components: those of the truth as in `Detection`; predicted ones in the same bins, merges and splits.

    right, partly: predicted components with a share above `high`, or between the two, in the truth; `fp` are the rest.
    merges: predicted ones that meet several of the truth; splits: true ones that several predicted ones meet.
    """

    right: int
    partly: int
    merges: int
    splits: int


def detections(
    run: FinishedRun,
    split: str,
    bins: Bins = PAPER_BINS,
    places: Sequence[tuple[int, int]] | None = None,
) -> dict[str, DetectionCounts]:
    """Components of each class, from components.csv.

    Args:
        run: whose file is read.
        split: validation or test.
        bins: how components are sorted by their shares, and which are too small to count.
        places: (volume, slice) to look at; all of the split for None.
    """
    found = {name: components_of(run.path, split, name) for name in run.names[1:]}
    if places is not None:
        found = {name: one.on(places) for name, one in found.items()}
    return {
        name: count_detected(one.among(one.area >= bins.smallest), bins)
        for name, one in found.items()
    }


def in_strata(
    run: FinishedRun,
    split: str,
    edges: Sequence[int],
    bins: Bins = PAPER_BINS,
) -> dict[str, dict[str, DetectionCounts]]:
    """`detections` of each class by the component's own area: {"er": {"1 to 99": ..., "100 or more": ...}}.

    The edges are areas in pixels at which a new stratum begins; `bins.smallest` begins the first one.
    """
    starts = [bins.smallest, *(edge for edge in sorted(set(edges)) if edge > bins.smallest)]
    ranges = {f"{one} to {following - 1}": (one, following) for one, following in pairwise(starts)}
    ranges[f"{starts[-1]} or more"] = (starts[-1], 2**62)
    counts = {}
    for name in run.names[1:]:
        every = components_of(run.path, split, name)
        counts[name] = {
            label: count_detected(every.among((every.area >= first) & (every.area < end)), bins)
            for label, (first, end) in ranges.items()
        }
    return counts


def count_detected(components: Components, bins: Bins) -> DetectionCounts:
    """How many are found, missed, false and between, by their shares."""
    truth, predicted = components.among(components.of_truth), components.among(~components.of_truth)
    counts = [
        [int(np.sum(chosen)) for chosen in _sorted_by_share(side, bins)]
        for side in (truth, predicted)
    ]
    (tp, ud, fn), (right, partly, fp) = counts
    merges, splits = (int((side.touched > 1).sum()) for side in (predicted, truth))
    return DetectionCounts(
        tp=tp, fn=fn, ud=ud, fp=fp, right=right, partly=partly, merges=merges, splits=splits
    )


def _sorted_by_share(
    side: Components, bins: Bins
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    above, below = side.share > bins.high, side.share < bins.low
    return above, ~above & ~below, below
