"""Scores of predicted slices against annotated ones: the same for a network, a second expert or any other method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from fibseg.scores.components import Component, Detection, count_detections, find_components
from fibseg.scores.pixels import confusion_counts, f1_scores, mean_f1, slices_with_class


class SliceScore(TypedDict):
    """Confusion counts (K, K) of one slice, rows truth, columns prediction."""

    volume: int
    slice: int
    confusion: list[list[int]]


@dataclass(frozen=True)
class SplitScore:
    """Scores of a list of slices: `components[i]` are those of `slices[i]`."""

    slices: list[SliceScore]
    components: list[list[Component]]


def score_slices(
    places: Iterable[tuple[int, int]],
    truths: Iterable[NDArray[np.uint8]],
    predictions: Iterable[NDArray[np.uint8]],
    classes: int,
) -> SplitScore:
    """Score pairs of (H, W) class indices; `places` are (volume, slice). Iterables are read in step, once."""
    slices: list[SliceScore] = []
    components = []
    for (volume, z), truth, prediction in zip(places, truths, predictions, strict=True):
        counts = confusion_counts(truth, prediction, classes).tolist()
        slices.append({"volume": volume, "slice": z, "confusion": counts})
        components.append(find_components(truth, prediction, classes))
    return SplitScore(slices, components)


@dataclass(frozen=True)
class ClassScore:
    """Figures of one foreground class over a list of slices.

    Attributes:
        f1: mean over the slices that hold the class; NaN if none does.
        slices: how many these are.
        pooled_f1: of all pixels together, with the slices that do not hold it.
        detection: components, as in Table 2 of the paper.
    """

    name: str
    f1: float
    slices: int
    pooled_f1: float
    detection: Detection


def summarise(score: SplitScore, class_names: Sequence[str]) -> list[ClassScore]:
    """One entry per foreground class, in order."""
    confusions = np.array([one["confusion"] for one in score.slices], np.int64)
    means, pooled, counts = (
        mean_f1(confusions),
        f1_scores(confusions.sum(axis=0)),
        slices_with_class(confusions),
    )
    every = [component for of_slice in score.components for component in of_slice]
    return [
        ClassScore(
            name,
            float(means[k]),
            int(counts[k]),
            float(pooled[k]),
            count_detections(every, k),
        )
        for k, name in enumerate(class_names)
        if k > 0
    ]
