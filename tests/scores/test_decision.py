"""Offsets and temperatures against searches that try everything, and against scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from fibseg.arrays import IGNORE
from fibseg.scores.decision import (
    PIXELS_LOOKED_AT,
    STEPS,
    ScoredPixels,
    best_offsets,
    best_temperature,
    confusion_with,
    confusions_by_step,
    gain_held_apart,
    mean_foreground_f1,
    offsets_of_shares,
    scored_pixels,
)

NONE = [0.0, 0.0, 0.0]
SHARES = (0.8, 0.15, 0.05)


def slices_of(
    bias: tuple[float, ...], noise: float = 1.0, seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two slices (64, 64) of three classes, and scores (3, 64, 64) that favour some of them."""
    generator = np.random.default_rng(seed)
    truths = [generator.choice(3, (64, 64), p=SHARES).astype(np.uint8) for _ in range(2)]
    scores = []
    for truth in truths:
        clean = 2.0 * (truth == np.arange(3)[:, None, None])
        noisy = clean + noise * generator.standard_normal(clean.shape)
        scores.append((noisy + np.array(bias)[:, None, None]).astype(np.float32))
    return scores, truths


def f1_of(pixels: ScoredPixels, offsets: list[float]) -> float:
    """Mean F1 of the two foreground classes, by scikit-learn."""
    labels = (pixels.scores + np.array(offsets, np.float32)).argmax(axis=1)
    return float(f1_score(pixels.truth, labels, labels=[1, 2], average="macro"))


def test_counts_at_every_step_are_those_of_labels_made_anew() -> None:
    pixels = scored_pixels(*slices_of((0, 1, 2)))
    offsets = np.array([0, 0.5, -1], np.float32)
    for index in (1, 2):
        confusions = confusions_by_step(pixels, offsets, index)
        for step, confusion in zip(STEPS, confusions, strict=True):
            changed = offsets.copy()
            changed[index] = step
            assert (confusion == confusion_with(pixels, changed.tolist())).all()
            assert mean_foreground_f1(confusion) == pytest.approx(f1_of(pixels, changed.tolist()))


def test_no_offsets_of_the_grid_are_much_better() -> None:
    """A search class by class need not find the very best pair, but comes close to it."""
    pixels = scored_pixels(*slices_of((0, 1.5, 3)))
    chosen = best_offsets(pixels, NONE)
    assert chosen[0] == 0
    every_pair = itertools.product(STEPS[::4].tolist(), repeat=2)
    best = max(f1_of(pixels, [0, *pair]) for pair in every_pair)
    assert f1_of(pixels, chosen) > best - 0.005
    assert f1_of(pixels, chosen) > f1_of(pixels, NONE) + 0.05


def test_a_bias_is_taken_back_and_other_slices_gain() -> None:
    """Scores of a network that saw all classes equally often are put right by known shares."""
    bias = tuple(-np.log(SHARES) + np.log(SHARES[0]))
    offsets = offsets_of_shares(SHARES, [1 / 3] * 3)
    assert offsets == pytest.approx([-value for value in bias], abs=1e-3)
    pixels = scored_pixels(*slices_of(bias))
    assert gain_held_apart(pixels, NONE) > 0.05
    others = scored_pixels(*slices_of(bias, seed=1))
    assert f1_of(others, best_offsets(pixels, NONE)) > f1_of(others, NONE) + 0.05


def test_the_gain_is_that_of_quarters_that_chose_nothing() -> None:
    pixels = scored_pixels(*slices_of((0, 1, 2), noise=2.0))
    labels = np.zeros(len(pixels.truth), np.int64)
    for part in range(4):
        inside = pixels.part == part
        offsets = best_offsets(pixels.where(~inside), NONE)
        labels[inside] = (pixels.scores[inside] + np.array(offsets, np.float32)).argmax(axis=1)
    held_apart = f1_score(pixels.truth, labels, labels=[1, 2], average="macro")
    expected = held_apart - f1_of(pixels, NONE)
    assert gain_held_apart(pixels, NONE) == pytest.approx(expected)


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_a_temperature_is_that_of_the_least_log_loss(factor: float) -> None:
    scores, truths = slices_of((0, 0, 0))
    pixels = scored_pixels([factor * values for values in scores], truths)
    temperature = best_temperature(pixels, NONE)

    def loss(divisor: float) -> float:
        powers = np.exp(pixels.scores / divisor)
        return float(log_loss(pixels.truth, powers / powers.sum(1, keepdims=True)))

    tried = np.geomspace(0.2, 5, 60)
    assert loss(temperature) <= min(map(loss, tried)) + 1e-4


def test_pixels_that_nobody_looked_at_count_nowhere() -> None:
    scores, truths = slices_of((0, 2, 2))
    hidden = [truth.copy() for truth in truths]
    for truth in hidden:
        truth[:20] = IGNORE
    pixels = scored_pixels(scores, hidden)
    assert len(pixels.truth) == 2 * 44 * 64
    cut = scored_pixels([s[:, 20:] for s in scores], [t[20:] for t in truths])
    assert best_offsets(pixels, NONE) == best_offsets(cut, NONE)
    assert sorted(np.unique(pixels.part).tolist()) == [0, 1, 2, 3]


def test_large_slices_are_looked_at_on_a_grid() -> None:
    truth = np.zeros((3000, 3000), np.uint8)
    scores = np.zeros((2, 3000, 3000), np.float32)
    assert PIXELS_LOOKED_AT / 4 < len(scored_pixels([scores], [truth]).truth) <= PIXELS_LOOKED_AT


def test_a_class_that_no_slice_has_keeps_the_offset_of_its_share() -> None:
    scores, truths = slices_of((0, 1, 1))
    for truth in truths:
        truth[truth == 2] = 0
    offsets = best_offsets(scored_pixels(scores, truths), [0.0, 0.0, -0.7])
    assert offsets[2] == pytest.approx(-0.7)
    known = offsets_of_shares([0.5, 0.5, 0.0], [0.2, 0.4, 0.4])
    assert known == pytest.approx([0, np.log(1.25) - np.log(2.5), 0], abs=1e-3)
