"""Level of seeds, overlap of links and smallest object, chosen on validation slices.

Objects are compared with the truth by the share of objects that are found, none false and none
missed, at intersections over union from .5 to .95, in the mean (mSA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE, Floats, Ints, UInt8
from fibseg.data.labels.instances import UNKNOWN
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import Compute
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from fibseg.prediction.instances.linking import linked_slices
from fibseg.prediction.instances.slices import Maps, slice_objects
from fibseg.prediction.labeller import scores_with_maps
from fibseg.prediction.slices import autocast, probabilities, windowed_network
from fibseg.prediction.windows import Windows
from fibseg.scores.slabs import Numbers

LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Levels of seeds that are tried."""

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Overlaps of links that are tried."""

SMALLEST = (1, 10, 30, 100, 300, 1000, 3000)
"""Voxels of the smallest object that are tried."""

_THRESHOLDS = np.arange(0.5, 0.96, 0.05)


def slice_maps(
    model: TrainedModel, channels: Sequence[UInt8], windows: Windows, compute: Compute
) -> list[Maps]:
    """Compute the maps (M, H, W) of slices (C, H, W), which are cut as in `predict_slices`."""
    count = len(model.class_names)
    network = scores_with_maps(model, compute.device)
    scoring = probabilities(network, count) if windows.kind == "blend" else network
    with windowed_network(model, scoring, windows, compute) as windowed, autocast(compute):
        return [windowed.scores(pixels)[count:] for pixels in channels]


def with_object_rules(
    model: TrainedModel,
    slices: Sequence[AnnotatedSlice],
    labels: Sequence[UInt8],
    channels: Sequence[UInt8],
    windows: Windows,
    compute: Compute,
) -> TrainedModel:
    """Give the model with the rules by which objects of validation slices are told apart best.

    Args:
        model: that was trained; one without objects stays as it is.
        slices: validation slices.
        labels: (H, W) class indices that the model gives them.
        channels: (C, H, W) of the slices.
        windows: how slices are cut.
        compute: what the network computes with.
    """
    rules = model.objects
    if rules is None or not slices:
        return model
    maps: list[Maps] | None = None
    if rules.head != "none":
        maps = slice_maps(model, channels, windows, compute)
    indices = [list(model.class_names).index(name) for name in rules.classes]
    return replace(model, objects=chosen_rules(rules, indices, slices, labels, maps))


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
    judge = _Judge([_Truth.of(entry) for entry in slices], labels, class_indices)
    rules = replace(rules, slices=len(slices))
    singles = [[k] for k in range(len(slices))]
    levels = LEVELS if maps is not None else (rules.level,)
    by_level = [
        [
            slice_objects(pixels, None if maps is None else maps[k], class_indices, level)
            for k, pixels in enumerate(labels)
        ]
        for level in levels
    ]
    best = _best([judge.accuracy(found, singles) for found in by_level])
    found = by_level[best]
    rules = replace(rules, level=levels[best])
    runs = _runs(slices)
    for name, values in (("overlap", OVERLAPS), ("smallest", SMALLEST)):
        if name == "overlap" and (maps is None or not any(len(run) > 1 for run in runs)):
            continue
        candidates = [replace(rules, **{name: value}) for value in values]
        scores = [
            judge.accuracy(_linked(candidate, labels, found, runs), runs)
            for candidate in candidates
        ]
        # Of sizes the smallest one, since objects of other slices may be smaller.
        rules = candidates[_best(scores) if name == "overlap" else int(np.argmax(scores))]
    return rules


def _linked(
    rules: ObjectRules,
    labels: Sequence[UInt8],
    found: Sequence[Numbers],
    runs: Sequence[Sequence[int]],
) -> list[Numbers]:
    """Link the objects (H, W) of slices within each run."""
    linked = list(found)
    for run in runs:
        links = linked_slices(((labels[k], found[k]) for k in run), rules)
        for position, k in enumerate(run):
            linked[k] = links.numbered(position, found[k])
    return linked


@dataclass(frozen=True)
class _Judge:
    """Compares objects of slices with the truth.

    Attributes:
        truths: of each slice.
        labels: (H, W) class indices that a model gives them.
        class_indices: of the classes that have objects.
    """

    truths: Sequence[_Truth]
    labels: Sequence[UInt8]
    class_indices: Sequence[int]

    def accuracy(self, found: Sequence[Numbers], groups: Sequence[Sequence[int]]) -> float:
        """Compute the mSA of objects (H, W) of all slices; they are whole within each group."""
        counts = np.zeros(len(_THRESHOLDS) + 1, np.int64)
        for group in groups:
            for index in self.class_indices:
                truth = np.stack([self.truths[k].only(index) for k in group])
                here = [self.truths[k].holds(self.labels[k], index) for k in group]
                numbers = [
                    np.where(holds, found[k], 0) for holds, k in zip(here, group, strict=True)
                ]
                counts += _counts(truth, np.stack(numbers))
        return float(_shares(counts).mean())


@dataclass(frozen=True)
class _Truth:
    """Class indices and objects (H, W) of a slice; both 0 where nobody knows."""

    labels: UInt8
    objects: NDArray[np.int32]
    known: NDArray[np.bool_]

    @staticmethod
    def of(entry: AnnotatedSlice) -> _Truth:
        assert entry.objects is not None
        known = (entry.labels != IGNORE) & (entry.objects != UNKNOWN)
        return _Truth(entry.labels, entry.objects, known)

    def only(self, index: int) -> NDArray[np.int32]:
        """Objects of a class."""
        return np.where(self.known & (self.labels == index), self.objects, 0)

    def holds(self, labels: UInt8, index: int) -> NDArray[np.bool_]:
        """Where a prediction of the class can be judged."""
        return np.asarray(self.known & (labels == index))


def _runs(slices: Sequence[AnnotatedSlice]) -> list[list[int]]:
    """List positions of slices that follow each other in one volume."""
    runs: list[list[int]] = []
    order = sorted(range(len(slices)), key=lambda k: slices[k].place)
    for k in order:
        volume, z = slices[k].place
        if runs and slices[runs[-1][-1]].place == (volume, z - 1):
            runs[-1].append(k)
        else:
            runs.append([k])
    return runs


def _counts(truth: Numbers, found: Numbers) -> Ints:
    """Count objects (T + 1,): pairs of each threshold, then all objects of both sides."""
    shared = (truth > 0) & (found > 0)
    width = np.int64(found.max(initial=0)) + 1
    codes, counts = np.unique(
        truth[shared].astype(np.int64) * width + found[shared], return_counts=True
    )
    truth_areas = np.bincount(truth.ravel())
    found_areas = np.bincount(found.ravel())
    union = truth_areas[codes // width] + found_areas[codes % width] - counts
    # Above one half, no object has two partners.
    pairs = (counts > _THRESHOLDS[:, None] * union).sum(axis=1)
    objects = np.count_nonzero(truth_areas[1:]) + np.count_nonzero(found_areas[1:])
    return np.append(pairs, objects).astype(np.int64)


def _shares(counts: Ints) -> Floats:
    """Compute true / (true + false + missed) of each threshold; 1 without any object."""
    pairs = counts[:-1]
    total = counts[-1] - pairs
    return np.where(total > 0, pairs / np.maximum(total, 1), 1.0)


def _best(scores: Sequence[float]) -> int:
    """Find the middle of the best ones."""
    best = np.flatnonzero(np.asarray(scores) >= max(scores) - 1e-9)
    return int(best[len(best) // 2])
