"""Intervals and tests against scipy and by simulation of sweeps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fibseg.comparison.paired import (
    MOST_SEEDS,
    SIGN_DRAWS,
    holm,
    power_of,
    seeds_needed,
    seeds_needed_range,
    sign_flip_p,
    t_interval,
)

SWEEPS = 2000


def simulated_sweeps(seeds: int, shift: float = 0.0) -> np.ndarray:
    """Paired differences (SWEEPS, seeds) of normal scores, whose mean is `shift`."""
    generator = np.random.default_rng(seeds)
    first, second = generator.normal(0.8, 0.02, (2, SWEEPS, seeds))
    return second - first + shift


@pytest.mark.parametrize("seeds", [2, 3, 7, 15])
def test_interval_and_t_agree_with_scipy(seeds: int) -> None:
    for differences in simulated_sweeps(seeds)[:20]:
        interval = t_interval(differences.tolist())
        peer = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((peer.low, peer.high))
        assert interval.mean == pytest.approx(differences.mean())


def test_interval_of_fewer_than_two() -> None:
    assert math.isnan(t_interval([]).mean)
    single = t_interval([0.1])
    assert single.mean == 0.1 and math.isnan(single.low) and math.isnan(single.high)


@pytest.mark.parametrize("seeds", [1, 2, 5, 9])
def test_sign_flip_is_complete(seeds: int) -> None:
    """Against every sign of every difference, one by one, and against scipy's permutation test."""
    for differences in simulated_sweeps(seeds)[:5]:
        flips = [
            abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=seeds)
        ]
        expected = np.mean([flip >= abs(differences.sum()) - 1e-12 for flip in flips])
        assert sign_flip_p(differences.tolist()) == pytest.approx(expected)
        # scipy wants two differences.
        if seeds == 1:
            continue
        peer = stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=10**6
        )
        assert sign_flip_p(differences.tolist()) == pytest.approx(peer.pvalue)


def test_sign_flip_of_many_seeds_draws() -> None:
    differences = simulated_sweeps(25, shift=0.01)[0]
    p = sign_flip_p(differences.tolist(), seed=3)
    assert p == sign_flip_p(differences.tolist(), seed=3)
    assert 1 / (SIGN_DRAWS + 1) <= p <= 1
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    # (b + 1) / (B + 1), since no draw of 20,000 is all of one sign.
    assert sign_flip_p([1.0] * 30) == 1 / (SIGN_DRAWS + 1)
    assert math.isnan(sign_flip_p([]))


def test_equal_sums_count_in_spite_of_rounding() -> None:
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.25
    assert sign_flip_p([0.3, 0.2, 0.1]) == 0.25
    assert sign_flip_p([0.0, 0.0]) == 1.0
    # A sum of 0, but for rounding.
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    with_nan = holm([0.01, math.nan, 0.02])
    assert with_nan[0] == 0.02 and math.isnan(with_nan[1]) and with_nan[2] == 0.02
    assert holm([]) == []


@pytest.mark.parametrize("seeds", [3, 5, 8, 10, 15])
def test_simulated_sweeps_without_an_effect(seeds: int) -> None:
    """t covers 93 to 97 %; the sign-flip test rejects 3 to 7 %, and never with 3 and 5 seeds."""
    differences = simulated_sweeps(seeds)
    intervals = [t_interval(row.tolist()) for row in differences]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.97
    rejected = np.mean([sign_flip_p(row.tolist()) <= 0.05 for row in differences])
    assert rejected == 0 if seeds <= 5 else 0.03 <= rejected <= 0.07


@pytest.mark.slow(seconds=2)
def test_power_and_seeds_needed_by_simulation() -> None:
    """With differences of standard deviation .02 an effect of .01 needs 34 seeds for 80 %."""
    assert seeds_needed(0.02, 0.01) == 34
    generator = np.random.default_rng(0)
    is_detected = [
        stats.ttest_1samp(generator.normal(0.01, 0.02, 34), 0).pvalue < 0.05 for _ in range(SWEEPS)
    ]
    assert np.mean(is_detected) == pytest.approx(power_of(34, 0.02, 0.01), abs=0.03)
    assert power_of(33, 0.02, 0.01) < 0.8 <= power_of(34, 0.02, 0.01)
    assert seeds_needed(0.0) == 2
    assert seeds_needed(1e-6) == 2


def test_the_range_of_seeds_follows_the_deviations_own_interval() -> None:
    differences = [0.01, -0.02, 0.03, 0.0, 0.015, -0.01, 0.02]
    middle, low, high = seeds_needed_range(differences)
    assert low < middle < high
    deviation = np.std(differences, ddof=1)
    assert middle == seeds_needed(float(deviation))
    assert high == seeds_needed(float(deviation * math.sqrt(6 / stats.chi2.ppf(0.025, 6))))


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("seeds", [2, 3, 7, 15, 60])
def test_power_against_scipys_noncentral_t_and_far_out(seeds: int) -> None:
    for ratio in (0.05, 0.3, 1.0, 2.0, 7.5):
        shift = ratio * math.sqrt(seeds)
        edge = stats.t.ppf(0.975, seeds - 1)
        peer = stats.nct.sf(edge, seeds - 1, shift) + stats.nct.cdf(-edge, seeds - 1, shift)
        power = power_of(seeds, 0.01 / ratio, 0.01)
        assert 0 <= power <= 1
        if not math.isnan(peer):
            assert power == pytest.approx(float(peer), abs=0.004)
    generator = np.random.default_rng(0)
    # The noncentral t of scipy gives NaN here.
    pairs = generator.normal(0.01, 0.001327, (SWEEPS, 2))
    detected = np.mean([stats.ttest_1samp(row, 0).pvalue < 0.05 for row in pairs])
    assert power_of(2, 0.001327, 0.01) == pytest.approx(detected, abs=0.03)


def test_seeds_needed_rise_with_the_deviation() -> None:
    needed = [seeds_needed(deviation) for deviation in np.geomspace(1e-4, 0.5, 60)]
    assert needed == sorted(needed)
    assert seeds_needed(5.0) == seeds_needed(20.0) == MOST_SEEDS
