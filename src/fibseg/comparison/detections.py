"""Components of finished runs: how many are detected, missed and false, from components.csv.

The bins are those of Table 2 in Meyer et al., ISBI 2021; see `fibseg.scores.components`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fibseg.arrays import Mask, Place
from fibseg.runs.components import Components, components_of
from fibseg.runs.finished import FinishedRun
from fibseg.scores.components import PAPER_BINS, Bins, Detection

_LARGEST_AREA = 2**62
"""An upper bound for the last stratum that no component reaches."""


# Recall alone can be gamed: a truth dilated by 15 pixels detects every component at an F1 of .40 to
# .67. The counts of predicted components show it.
class DetectionCounts(Detection):
    """Counts of components: those of the truth as in `Detection`, and predicted ones alike.

    Attributes:
        right: predicted components with a share above `high` in the truth.
        partly: predicted components with a share from `low` to `high`; `fp` counts the rest.
        merges: predicted components that touch several of the truth.
        splits: components of the truth that several predicted ones touch.
    """

    right: int
    partly: int
    merges: int
    splits: int


def detections(
    run: FinishedRun,
    split: str,
    bins: Bins = PAPER_BINS,
    places: Sequence[Place] | None = None,
) -> dict[str, DetectionCounts]:
    """Counts of the components of each foreground class, from components.csv.

    Args:
        run: the run whose file is read.
        split: "validation" or "test".
        bins: how components are sorted by their shares, and which are too small to count.
        places: count components on these slices only; on all for None.

    Returns:
        Class -> counts.
    """
    counts = {}
    for name in run.class_names[1:]:
        components = components_of(run.path, split, name)
        if places is not None:
            components = components.on(places)
        # Predicted components as well, or specks of noise would fill the false ones.
        is_counted = components.area >= bins.smallest
        counts[name] = count_detected(components.among(is_counted), bins)
    return counts


def detections_by_area(
    run: FinishedRun, split: str, edges: Sequence[int], bins: Bins = PAPER_BINS
) -> dict[str, dict[str, DetectionCounts]]:
    """Counts of the components of each class by their own area.

    Args:
        run: the run whose file is read.
        split: "validation" or "test".
        edges: areas in pixels at which a new stratum begins; `bins.smallest` begins the first one.
        bins: how components are sorted by their shares.

    Returns:
        Class -> stratum -> counts, as in {"er": {"1 to 99": ..., "100 or more": ...}}.
    """
    # Smaller components count nowhere, so that the first stratum begins with `smallest`.
    starts = [bins.smallest, *(edge for edge in sorted(set(edges)) if edge > bins.smallest)]
    strata = {f"{start} to {end - 1}": (start, end) for start, end in pairwise(starts)}
    # The last stratum is open, so that every component is in exactly one of them.
    strata[f"{starts[-1]} or more"] = (starts[-1], _LARGEST_AREA)
    counts = {}
    for name in run.class_names[1:]:
        components = components_of(run.path, split, name)
        area = components.area
        counts[name] = {
            stratum: count_detected(components.among((area >= start) & (area < end)), bins)
            for stratum, (start, end) in strata.items()
        }
    return counts


def count_detected(components: Components, bins: Bins) -> DetectionCounts:
    """Count the components of both sides by the share that the other side has of them."""
    truth = components.among(components.of_truth)
    predicted = components.among(~components.of_truth)
    tp, ud, fn = (int(chosen.sum()) for chosen in _sorted_by_share(truth, bins))
    right, partly, fp = (int(chosen.sum()) for chosen in _sorted_by_share(predicted, bins))
    return DetectionCounts(
        tp=tp,
        fn=fn,
        ud=ud,
        fp=fp,
        right=right,
        partly=partly,
        # A single pixel in common is a meeting; `touched` counts components.
        merges=int(np.sum(predicted.touched > 1)),
        splits=int(np.sum(truth.touched > 1)),
    )


def _sorted_by_share(components: Components, bins: Bins) -> tuple[Mask, Mask, Mask]:
    """Which components have a share above `high`, between the two, and below `low`."""
    # A share of exactly `high` or `low` is between: the paper says over .80 and below .10.
    is_above = components.share > bins.high
    is_below = components.share < bins.low
    return is_above, ~is_above & ~is_below, is_below
