"""What more slices would bring: known curves, honest intervals, silence where little is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from fibseg.scores.learning_curve import extrapolate

COUNTS = (1, 2, 5, 10)


def curve(generator: np.random.Generator, noise: float) -> dict[int, list[float]]:
    """Five seeds of .9 - .2 / sqrt(n)."""
    return {
        count: (0.9 - 0.2 * count**-0.5 + generator.normal(0, noise, 5)).tolist()
        for count in COUNTS
    }


def test_a_power_law_is_found() -> None:
    expected = extrapolate(curve(np.random.default_rng(0), 1e-6))
    assert expected is not None
    assert expected.count == 10
    assert expected.gain == pytest.approx(0.2 * (10**-0.5 - 20**-0.5), abs=2e-3)
    assert expected.text.startswith("10 annotated slices reach .837; 20 would bring about +0.018 (")


def test_it_agrees_with_scipys_fit() -> None:
    """Near the exponent that the curve has."""
    data = curve(np.random.default_rng(1), 0.004)
    numbers = np.repeat(COUNTS, 5)
    scores = np.concatenate([data[count] for count in COUNTS])
    (_, factor, exponent), _ = curve_fit(
        lambda n, a, b, c: a - b * n**-c, numbers, scores, (0.9, 0.2, 0.5), bounds=(0, [1, 2, 2])
    )
    expected = extrapolate(data)
    assert expected is not None
    gain = factor * (10**-exponent - 20**-exponent)
    assert expected.gain == pytest.approx(gain, abs=3e-3)


def test_the_interval_holds_a_training() -> None:
    """95 % are meant; of 300 new trainings with 20 slices, at least 90 % lie in it."""
    generator = np.random.default_rng(2)
    held = []
    for _ in range(300):
        expected = extrapolate(curve(generator, 0.02))
        assert expected is not None
        new = 0.9 - 0.2 * 20**-0.5 + generator.normal(0, 0.02)
        held.append(expected.low <= new - expected.f1 <= expected.high)
    assert np.mean(held) > 0.9


def test_curves_that_fall_or_are_full_promise_nothing() -> None:
    falling = extrapolate({1: [0.9, 0.91], 2: [0.88, 0.89], 5: [0.85, 0.86]})
    assert falling is not None and falling.gain == 0
    full = extrapolate({1: [0.99, 1.0], 2: [1.0, 1.0], 5: [1.0, 1.0]})
    assert full is not None and 0 <= full.gain < 0.01


@pytest.mark.parametrize(
    "known",
    [
        {},
        {1: [0.5, 0.6], 2: [0.7, 0.8]},
        {1: [0.5], 2: [0.6], 5: [0.7]},
        {1: [0.5, 0.6], 2: [0.6, np.nan], 5: [0.7, 0.7]},
    ],
)
def test_too_little_is_known(known: dict[int, list[float]]) -> None:
    assert extrapolate(known) is None
