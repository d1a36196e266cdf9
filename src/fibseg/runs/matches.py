"""Matches of objects in scores.json, checked as they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fibseg.scores.instances.matching import IOU_THRESHOLDS, MatchCounts
from fibseg.scores.instances.splits import BlockMatches, SliceMatches, SplitMatches


def read_matches(content: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, SplitMatches]:
    """Read split -> matches of objects, as `score_objects` gives them.

    Raises:
        ValueError, KeyError, TypeError or OverflowError: they are damaged.
    """
    return {
        split: SplitMatches(
            slices=[
                SliceMatches(
                    volume=int(entry["volume"]),
                    slice=int(entry["slice"]),
                    classes=_by_class(entry["classes"], class_names),
                )
                for entry in of_split["slices"]
            ],
            blocks=[
                BlockMatches(
                    volume=int(entry["volume"]),
                    start=int(entry["start"]),
                    stop=int(entry["stop"]),
                    classes=_by_class(entry["classes"], class_names),
                )
                for entry in of_split["blocks"]
            ],
        )
        for split, of_split in content.items()
    }


def _by_class(
    content: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]
) -> dict[str, MatchCounts]:
    unknown = set(content) - set(class_names[1:])
    if unknown:
        raise ValueError(f"objects of {sorted(unknown)[0]!r}, which is no class")
    return {name: _counts(counts) for name, counts in content.items()}


def _counts(content: Mapping[str, Any]) -> MatchCounts:
    counts = MatchCounts(
        truth=int(content["truth"]),
        predicted=int(content["predicted"]),
        matched=[int(count) for count in content["matched"]],
        iou=[float(total) for total in content["iou"]],
        pixels=int(content["pixels"]),
        split_bits=float(content["split_bits"]),
        merge_bits=float(content["merge_bits"]),
    )
    sums = [*counts["iou"], counts["split_bits"], counts["merge_bits"], counts["pixels"]]
    fits = len(counts["matched"]) == len(counts["iou"]) == len(IOU_THRESHOLDS)
    most = min(counts["truth"], counts["predicted"])
    if not fits or any(not 0 <= pairs <= most for pairs in counts["matched"]):
        raise ValueError("matches of objects that cannot be")
    if not all(0 <= total < math.inf for total in sums):
        raise ValueError("sums over objects that cannot be")
    return counts
