"""What a model adds to the scores of the classes before the largest is taken, and how it is chosen.

Here: the choice for a model and its slices. Not here: the search itself (`fibseg.scores.decision`),
and where it is used (`fibseg.prediction.slices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fibseg.arrays import IGNORE, UInt8
from fibseg.data.sampling import PatchSampler
from fibseg.machine import Compute
from fibseg.models.trained import Decision, TrainedModel
from fibseg.prediction.slices import Scores, slice_scores
from fibseg.prediction.windows import Windows
from fibseg.scores.decision import (
    best_offsets,
    best_temperature,
    gain_held_apart,
    offsets_of_shares,
    scored_pixels,
)
from fibseg.scores.smallest import best_smallest

_DRAWN_PATCHES = 1024
"""Patches whose pixels give the shares of the classes that a training sees."""

_LEAST_GAIN = 0.01
"""Mean F1 that offsets must gain on pixels held apart: .03 to .06 on vnc; the .000 to .004 of epfl
need not hold on other slices."""


def prior_offsets(
    labels: Sequence[UInt8], size: int, class_share: float, classes: int
) -> list[float]:
    """Compute offsets from the shares of the classes in slices and in the patches drawn from them.

    Args:
        labels: (H, W) class indices of the training slices.
        size: side of a patch in pixels.
        class_share: share of the patches that are centred on a class.
        classes: number of classes.
    """
    whole = _counts(labels, classes)
    sampler = PatchSampler(labels, size, class_share)
    patches = sampler.draw(_DRAWN_PATCHES, [0], augment=False)
    places = zip(patches.index.tolist(), patches.row.tolist(), patches.column.tolist(), strict=True)
    drawn = _counts(
        [labels[index][row : row + size, column : column + size] for index, row, column in places],
        classes,
    )
    return offsets_of_shares(whole / max(whole.sum(), 1), drawn / max(drawn.sum(), 1))


def _counts(labels: Sequence[UInt8], classes: int) -> np.ndarray:
    counts = np.zeros(classes, np.int64)
    for pixels in labels:
        counts += np.bincount(pixels[pixels != IGNORE], minlength=classes)[:classes]
    return counts


def decide(
    kind: str,
    scores: Sequence[Scores],
    truths: Sequence[UInt8],
    prior: Sequence[float] | None,
    classes: int,
    cleans: bool = False,
) -> Decision:
    """Choose the decision of a model on its validation slices.

    Args:
        kind: one of `fibseg.models.kinds.DECISIONS`.
        scores: (K, H, W) logits of each validation slice.
        truths: annotation (H, W) of each.
        prior: offsets of known shares; None where the training draws no patches.
        classes: number of classes.
        cleans: whether the smallest object of each class is chosen, too.
    """
    decision = _with_offsets(kind=kind, scores=scores, truths=truths, prior=prior, classes=classes)
    if not cleans:
        return decision
    offsets = np.asarray(decision.offsets, np.float32)[:, None, None]
    labels = [(values + offsets).argmax(axis=0).astype(np.uint8) for values in scores]
    return replace(decision, smallest=best_smallest(labels, truths, classes))


def _with_offsets(
    kind: str,
    scores: Sequence[Scores],
    truths: Sequence[UInt8],
    prior: Sequence[float] | None,
    classes: int,
) -> Decision:
    known = [truth for truth in truths if (truth != IGNORE).any()]
    if kind == "argmax" or (kind == "prior" and prior is None) or not (known or prior):
        return Decision("argmax", [0.0] * classes)
    if kind == "prior" or not known:
        assert prior is not None
        return Decision("prior", list(prior))
    pixels = scored_pixels(scores, truths)
    start = list(prior or [0.0] * classes)
    gain = gain_held_apart(pixels, start)
    offsets = best_offsets(pixels, start) if gain > _LEAST_GAIN else [0.0] * len(start)
    temperature = best_temperature(pixels, offsets)
    return Decision("validation", offsets, temperature, gain=gain, slices=len(truths))


def with_decision(
    model: TrainedModel,
    kind: str,
    channels: Sequence[UInt8],
    truths: Sequence[UInt8],
    prior: Sequence[float] | None,
    windows: Windows,
    compute: Compute,
    cleans: bool = False,
) -> TrainedModel:
    """Give the model with the decision that its validation slices give.

    Args:
        model: a trained model; what it adds to its scores now plays no part.
        kind: one of `fibseg.models.kinds.DECISIONS`.
        channels: (C, H, W) of the validation slices.
        truths: their annotation (H, W).
        prior: as in `decide`.
        windows: how slices are cut.
        compute: what the network computes with.
        cleans: whether the smallest object of each class is chosen, too.
    """
    plain = replace(model, decision=None)
    scores = []
    if kind == "validation" or cleans:
        scores = slice_scores(plain, channels, windows, compute)
    return replace(
        model,
        decision=decide(
            kind=kind,
            scores=scores,
            truths=truths,
            prior=prior,
            classes=len(model.class_names),
            cleans=cleans,
        ),
    )
