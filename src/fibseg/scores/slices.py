"""Scores of predicted slices against annotated ones.

The same code scores a network, a second expert or any other method.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from fibseg.arrays import Ints, Place, UInt8
from fibseg.scores.components import Component, Detection, count_detections, find_components
from fibseg.scores.pixels import confusion_counts, f1_scores, mean_f1, slices_with_class

# Only data with objects need the package, and its library.
if TYPE_CHECKING:
    from fibseg.scores.instances import SplitMatches


class SliceScore(TypedDict):
    """Confusion counts of one slice, as scores.json holds them.

    Attributes:
        volume: of the data description, from 0.
        slice: z in the image.
        confusion: (K, K) pixels by class, rows truth, columns prediction.
    """

    volume: int
    slice: int
    confusion: list[list[int]]


@dataclass(frozen=True)
class SplitScore:
    """Scores of a list of slices.

    Attributes:
        slices: confusion counts of each slice.
        components: of each slice.
        objects: matches of objects, where some class has them; else None.
    """

    slices: list[SliceScore]
    components: list[list[Component]]
    objects: SplitMatches | None = None


def score_slices(
    places: Iterable[Place], truths: Iterable[UInt8], predictions: Iterable[UInt8], classes: int
) -> SplitScore:
    """Score predicted slices against true ones, both class indices (H, W).

    The iterables are read in step and once, so that generators keep memory small. `classes` counts
    the background too.
    """
    slices: list[SliceScore] = []
    components: list[list[Component]] = []
    # Strict, since scores of slices that do not belong together would look like any other.
    for (volume, z), truth, prediction in zip(places, truths, predictions, strict=True):
        # Lists, as JSON holds them: a score that is read back equals one that was just computed.
        confusion = confusion_counts(truth, prediction, classes).tolist()
        slices.append({"volume": volume, "slice": z, "confusion": confusion})
        components.append(find_components(truth, prediction, classes))
    return SplitScore(slices, components)


def confusions_of(slices: Sequence[SliceScore], classes: int) -> Ints:
    """Stack the confusion counts of slices: (S, K, K); no slice gives (0, K, K).

    Raises:
        ValueError: the counts of a slice are not K by K whole numbers.
    """
    # Without a slice, NumPy makes an array of one axis, which the reshape below corrects.
    confusions = np.array([score["confusion"] for score in slices], np.int64)
    if slices and confusions.shape[1:] != (classes, classes):
        raise ValueError(f"counts of shape {confusions.shape[1:]} for {classes} classes")
    return confusions.reshape(-1, classes, classes)


@dataclass(frozen=True)
class ClassScore:
    """Figures of one foreground class over a list of slices.

    Attributes:
        name: of the class.
        f1: mean over the slices that hold the class; NaN if none does.
        slices: how many slices hold the class.
        pooled_f1: of the pixels of all slices together, also of those that do not hold the class.
        detection: counts of components, as in Table 2 of the paper.
    """

    name: str
    f1: float
    slices: int
    pooled_f1: float
    detection: Detection


def summarise(score: SplitScore, class_names: Sequence[str]) -> list[ClassScore]:
    """Summarise the scores of a list of slices: an entry per foreground class, in order."""
    confusions = confusions_of(score.slices, len(class_names))
    means = mean_f1(confusions)
    pooled = f1_scores(confusions.sum(axis=0))
    counts = slices_with_class(confusions)
    # Detections are pooled over slices, as in Table 2; F1 is averaged over them, as in Table 1.
    components = [component for of_slice in score.components for component in of_slice]
    return [
        ClassScore(
            name=class_names[index],
            f1=float(means[index]),
            slices=int(counts[index]),
            pooled_f1=float(pooled[index]),
            detection=count_detections(components, index),
        )
        # Class 0 is the background.
        for index in range(1, len(class_names))
    ]
