"""Level of seeds, overlap of links and smallest object, chosen on validation slices.

Objects are compared with the truth by the share of objects that are matched, none false and none
missed, at intersections over union from .5 to .95, in the mean (mSA).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from fibseg.arrays import IGNORE, UInt8, consecutive_places
from fibseg.data.labels.instances import UNKNOWN
from fibseg.data.volume import AnnotatedSlice
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from fibseg.prediction.instances.blocks import linked_blocks, objects_in_slices
from fibseg.prediction.instances.slices import Maps
from fibseg.scores.instances import (
    Ids,
    contingency,
    count_matches,
    instance_figures,
    pooled_matches,
)

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of seeds that are tried."""

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Overlaps of links that are tried."""

SMALLEST = (1, 10, 30, 100, 300, 1000, 3000)
"""Voxels of the smallest object that are tried."""


def with_object_rules(
    model: TrainedModel,
    slices: Sequence[AnnotatedSlice],
    labels: Sequence[UInt8],
    maps: Sequence[Maps] | None,
) -> TrainedModel:
    """Give the model with the rules by which objects of validation slices are told apart best.

    Args:
        model: that was trained; one without objects stays as it is.
        slices: validation slices.
        labels: (H, W) class indices that the model gives them.
        maps: (M, H, W) that its head gives them; None without a head.
    """
    rules = model.objects
    if rules is None or not slices:
        return model
    indices = [list(model.class_names).index(name) for name in rules.classes]
    return replace(model, objects=chosen_rules(rules, indices, slices, labels, maps=maps))


def chosen_rules(
    rules: ObjectRules,
    class_indices: Sequence[int],
    slices: Sequence[AnnotatedSlice],
    labels: Sequence[UInt8],
    maps: Sequence[Maps] | None,
) -> ObjectRules:
    """Choose the level by objects of single slices, then the other rules by those in 3-D.

    Args:
        rules: that are completed.
        class_indices: of the classes that have objects.
        slices: with their objects.
        labels: (H, W) class indices that a model gives them.
        maps: (M, H, W) that its head gives them; None without a head, where the smallest object
            alone is chosen.
    """
    judge = _Judge(slices, labels, class_indices)
    rules = replace(rules, slices=len(slices))
    singles = [[k] for k in range(len(slices))]
    levels = LEVELS if maps is not None else (rules.level,)
    by_level = [objects_in_slices(labels, maps, class_indices, level) for level in levels]
    best = _best([judge.accuracy(objects, singles) for objects in by_level])
    objects_of_slices = by_level[best]
    rules = replace(rules, level=levels[best])
    places = [entry.place for entry in slices]
    blocks = consecutive_places(places)

    def scores_of_rules(candidates: Sequence[ObjectRules]) -> list[float]:
        return [
            judge.accuracy(linked_blocks(places, labels, objects_of_slices, candidate), blocks)
            for candidate in candidates
        ]

    if maps is not None and any(len(block) > 1 for block in blocks):
        candidates = [replace(rules, overlap=overlap) for overlap in OVERLAPS]
        rules = candidates[_best(scores_of_rules(candidates))]
    candidates = [replace(rules, smallest=voxels) for voxels in SMALLEST]
    # The smallest of the best ones, since objects of other slices may be smaller.
    return candidates[int(np.argmax(scores_of_rules(candidates)))]


@dataclass(frozen=True)
class _Judge:
    """Compares objects of slices with the truth.

    Attributes:
        slices: with their objects.
        labels: (H, W) class indices that a model gives each of them.
        class_indices: of the classes that have objects.
    """

    slices: Sequence[AnnotatedSlice]
    labels: Sequence[UInt8]
    class_indices: Sequence[int]

    def accuracy(self, objects: Sequence[Ids], groups: Sequence[Sequence[int]]) -> float:
        """Compute the mSA of objects (H, W) of all slices; they are whole within each group."""
        counts = []
        for group in groups:
            for index in self.class_indices:
                tables = [
                    contingency(
                        self._truth(k, index), np.where(self.labels[k] == index, objects[k], 0)
                    )
                    for k in group
                ]
                counts.append(count_matches(reduce(operator.add, tables)))
        accuracy = instance_figures(pooled_matches(counts)).msa
        # Without any object, nothing is wrong.
        return 1.0 if math.isnan(accuracy) else accuracy

    def _truth(self, k: int, index: int) -> Ids:
        """Objects (H, W) of a class in a slice, negative where they are not known."""
        entry = self.slices[k]
        assert entry.objects is not None
        of_class = np.where(entry.labels == index, entry.objects, 0)
        return np.where((entry.labels == IGNORE) | (entry.objects == UNKNOWN), -1, of_class)


def _best(scores: Sequence[float]) -> int:
    """Find the middle of the best ones."""
    best = np.flatnonzero(np.asarray(scores) >= max(scores) - 1e-9)
    return int(best[len(best) // 2])
