"""Numbers that are added to the scores of the classes before the largest of them is taken.

A network that learns from patches round rare classes, by a loss that weighs them, predicts them too
often in whole slices: its scores are those of other shares of the classes than slices have. An
offset for each class puts that right without any training. Known shares give it as the logarithm of
their ratio (Saerens, Latinne and Decaestecker 2002, doi:10.1162/089976602753284446); annotated
slices give the one by which most pixels are right, here by the mean F1 of the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE, Floats, Ints, UInt8
from fibseg.scores.pixels import confusion_counts, f1_scores

STEPS = np.arange(-5, 5.01, 0.25)
"""Offsets that are tried, in logarithms of odds."""

ROUNDS = 4
"""How often all classes are gone through; later rounds change nothing on real stacks."""

PIXELS_LOOKED_AT = 2**22
"""Pixels that are looked at, evenly spread over the slices."""

PIXELS_OF_A_TEMPERATURE = 2**18
"""Of these, how many choose the temperature, about."""

TEMPERATURES = (0.2, 5.0)
"""Range of temperatures that are tried."""


@dataclass(frozen=True)
class ScoredPixels:
    """Annotated pixels with their scores.

    Attributes:
        scores: (N, K) logits or logarithms of probabilities.
        truth: (N,) class indices.
        part: (N,) which of four parts of its slice a pixel lies in, 0 to 3.
    """

    scores: NDArray[np.float32]
    truth: UInt8
    part: UInt8

    def where(self, chosen: NDArray[np.bool_]) -> ScoredPixels:
        """Take some of the pixels."""
        return ScoredPixels(self.scores[chosen], self.truth[chosen], self.part[chosen])


def scored_pixels(scores: Sequence[NDArray[np.float32]], truths: Sequence[UInt8]) -> ScoredPixels:
    """Collect annotated pixels of slices, every pixel or a regular grid of them.

    Args:
        scores: (K, H, W) of each slice.
        truths: annotation (H, W) of each slice.
    """
    pixels = sum(truth.size for truth in truths)
    stride = max(1, int(np.ceil((pixels / PIXELS_LOOKED_AT) ** 0.5)))
    parts: list[tuple[NDArray[np.float32], UInt8, UInt8]] = []
    for slice_scores, truth in zip(scores, truths, strict=True):
        grid = np.s_[::stride, ::stride]
        known = truth[grid] != IGNORE
        height, width = truth[grid].shape
        below = np.arange(height)[:, None] >= height // 2
        right = np.arange(width)[None, :] >= width // 2
        part = (2 * below + right).astype(np.uint8)
        parts.append((slice_scores[:, *grid][:, known].T, truth[grid][known], part[known]))
    columns = zip(*parts, strict=True)
    chosen_scores, chosen_truth, chosen_part = (np.concatenate(column) for column in columns)
    return ScoredPixels(chosen_scores, chosen_truth, chosen_part)


def offsets_of_shares(wanted: Sequence[float], learned: Sequence[float]) -> list[float]:
    """Compute offsets that turn scores learned with some shares of the classes to other shares.

    Args:
        wanted: shares of the classes in slices; a class of share 0 gets no offset.
        learned: shares of the classes among the pixels of the training.

    >>> offsets_of_shares([0.8, 0.2], [0.5, 0.5])
    [0.0, -1.3863]
    """
    background = np.log(wanted[0] / learned[0]) if wanted[0] > 0 and learned[0] > 0 else 0.0
    return [
        round(float(np.log(a / b) - background), 4) if a > 0 and b > 0 else 0.0
        for a, b in zip(wanted, learned, strict=True)
    ]


def _relative(offsets: Sequence[float]) -> list[float]:
    """Take the background's offset from all, which changes no decision."""
    return [round(float(value - offsets[0]), 4) for value in offsets]


def best_offsets(pixels: ScoredPixels, start: Sequence[float]) -> list[float]:
    """Choose the offsets (K,) by which the mean F1 of the classes is highest; the first is 0.

    Coordinate search: class by class, all steps are tried at once while the others stay. A class
    that no pixel has keeps its offset of `start`.
    """
    present = np.unique(pixels.truth)
    offsets = np.array(_relative(start), np.float32)
    for _ in range(ROUNDS):
        before = offsets.copy()
        for index in present[present > 0].tolist():
            confusions = confusions_by_step(pixels, offsets, index)
            means = mean_foreground_f1(confusions)
            # Of several steps that are as good, the one in their middle.
            best = np.flatnonzero(means >= means.max() - 1e-9)
            offsets[index] = STEPS[best[len(best) // 2]]
        if (offsets == before).all():
            break
    return _relative(offsets.tolist())


def confusions_by_step(pixels: ScoredPixels, offsets: NDArray[np.float32], index: int) -> Ints:
    """Count pixels (len(STEPS), K, K) for each offset of one class, while the others stay."""
    count = pixels.scores.shape[1]
    others = pixels.scores + offsets
    others[:, index] = -np.inf
    rival = others.argmax(axis=1)
    # The offset from which on the class beats its rival.
    needed = others.max(axis=1) - pixels.scores[:, index]
    step = np.searchsorted(STEPS, needed, side="right")
    bins = len(STEPS) + 1
    triples = (pixels.truth.astype(np.int64) * count + rival) * bins + step
    counts = np.bincount(triples, minlength=count * count * bins).reshape(count, count, bins)
    # Pixels that are won at a step stay won at all larger ones.
    won = counts.cumsum(axis=2)[:, :, :-1]
    confusions = counts.sum(axis=2)[:, :, None] - won
    confusions[:, index] = won.sum(axis=1)
    return np.asarray(np.moveaxis(confusions, 2, 0), np.int64)


def mean_foreground_f1(confusions: Ints) -> Floats:
    """Average the F1 of the classes that occur, background left out: (..., K, K) -> (...)."""
    scores = f1_scores(confusions)[..., 1:]
    present = ~np.isnan(scores)
    total = np.where(present, scores, 0).sum(axis=-1)
    return np.asarray(total / np.maximum(present.sum(axis=-1), 1))


def confusion_with(pixels: ScoredPixels, offsets: Sequence[float]) -> Ints:
    """Count pixels (K, K) of labels that are made with offsets."""
    count = pixels.scores.shape[1]
    labels = (pixels.scores + np.asarray(offsets, np.float32)).argmax(axis=1).astype(np.uint8)
    return confusion_counts(pixels.truth, labels, count)


def gain_held_apart(pixels: ScoredPixels, start: Sequence[float]) -> float:
    """Measure the mean F1 that `best_offsets` gain on pixels that took no part in their choice.

    Each quarter of the slices is labelled with the offsets that the other three give.
    """
    chosen = np.zeros((pixels.scores.shape[1],) * 2, np.int64)
    for part in range(4):
        inside = pixels.part == part
        offsets = best_offsets(pixels.where(~inside), start)
        chosen += confusion_with(pixels.where(inside), offsets)
    plain = confusion_with(pixels, [0.0] * len(chosen))
    return float(mean_foreground_f1(chosen) - mean_foreground_f1(plain))


def best_temperature(pixels: ScoredPixels, offsets: Sequence[float]) -> float:
    """Choose by what scores are divided, so that probabilities are as often right as they say.

    It minimizes the mean negative logarithm of the probability of the true class (Guo, Pleiss, Sun
    and Weinberger 2017, arXiv:1706.04599), and changes no label.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    # One number needs fewer pixels than an offset of a rare class.
    few = slice(None, None, max(1, len(pixels.truth) // PIXELS_OF_A_TEMPERATURE))
    scores = pixels.scores[few] + np.asarray(offsets, np.float32)
    truth = pixels.truth[few, None].astype(np.int64)
    of_truth = np.take_along_axis(scores, truth, axis=1)[:, 0]

    def loss(logarithm: float) -> float:
        factor = np.exp(-logarithm)
        return float((logsumexp(scores * factor, axis=1) - of_truth * factor).mean())

    bounds = tuple(np.log(TEMPERATURES))
    minimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.01})
    return round(float(np.exp(minimum.x)), 3)
