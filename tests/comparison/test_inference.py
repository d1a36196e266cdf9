"""Intervals and tests against scipy and by simulation of sweeps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fibseg.comparison.inference import (
    MOST_SEEDS,
    Interval,
    family_test,
    seeds_needed,
    seeds_needed_range,
    t_interval,
)
from fibseg.comparison.inference.families import SIGN_DRAWS
from fibseg.comparison.inference.intervals import correlation, equivalence_p, welch_interval
from fibseg.comparison.inference.power import power_of

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


def by_seed(rows: np.ndarray) -> list[dict[int, float]]:
    """Tests for `family_test` from differences (tests, seeds); NaN is a missing seed."""
    return [
        {seed: float(value) for seed, value in enumerate(row) if not math.isnan(value)}
        for row in rows
    ]


def sizes_of(values: np.ndarray) -> list[float]:
    """|t| of differences (tests, seeds) by scipy; NaN is a missing seed."""
    return [abs(stats.ttest_1samp(row[~np.isnan(row)], 0).statistic) for row in values]


def step_down(values: np.ndarray) -> tuple[list[float], list[float]]:
    """P alone and adjusted p by every sign of every seed, as Ge, Dudoit and Speed 2003 define them.

    Box 3 of Resampling-based multiple testing for microarray data analysis, Test 12.
    """
    observed = sizes_of(values)
    order = sorted(range(len(values)), key=lambda k: -observed[k])
    alone = np.zeros(len(values))
    counts = np.zeros(len(values))
    flips = list(itertools.product((-1, 1), repeat=values.shape[1]))
    for signs in flips:
        sizes = sizes_of(values * np.array(signs))
        largest = -1.0
        for k in reversed(order):
            largest = max(largest, sizes[k])
            counts[k] += largest >= observed[k] - 1e-9
            alone[k] += sizes[k] >= observed[k] - 1e-9
    adjusted: list[float] = [0.0] * len(values)
    highest = 0.0
    for k in order:
        highest = max(highest, counts[k] / len(flips))
        adjusted[k] = highest
    return (alone / len(flips)).tolist(), adjusted


@pytest.mark.parametrize("seeds", [6, 7])
def test_a_family_is_every_sign_of_every_seed(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    shared = generator.normal(0, 0.02, (1, seeds))
    values = shared + generator.normal([[0.02], [0.0], [0.05], [0.0]], 0.01, (4, seeds))
    result = family_test(by_seed(values))
    alone, adjusted = step_down(values)
    assert result.p == pytest.approx(alone)
    assert result.adjusted_p == pytest.approx(adjusted)
    assert result.smallest_p == 2 / 2**seeds


def test_a_single_test_agrees_with_scipys_permutation_test() -> None:
    for differences in simulated_sweeps(9)[:5]:
        peer = stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=10**6
        )
        result = family_test(by_seed(differences[None]))
        assert result.p == result.adjusted_p == [pytest.approx(peer.pvalue)]


def test_a_test_may_lack_seeds() -> None:
    values = np.random.default_rng(3).normal(0.01, 0.01, (3, 8))
    values[1, 2] = np.nan
    values[2, :4] = np.nan
    result = family_test(by_seed(values))
    alone, adjusted = step_down(values[:2])
    assert result.p[:2] == pytest.approx(alone) and result.adjusted_p[:2] == pytest.approx(adjusted)
    # Four seeds are too few, and widen no family.
    assert math.isnan(result.p[2]) and math.isnan(result.intervals[2].low)
    assert result.intervals[2].mean == pytest.approx(np.nanmean(values[2]))


@pytest.mark.parametrize("seeds", [6, 7, 10])
def test_an_interval_leaves_out_0_where_p_is_small_and_only_there(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    decisions = set()
    for _ in range(200):
        values = generator.normal(generator.normal(0, 0.02, (5, 1)), 0.02, (5, seeds))
        result = family_test(by_seed(values))
        for p, interval in zip(result.adjusted_p, result.intervals, strict=True):
            assert (p > 0.05) == (interval.low < 0 < interval.high)
            decisions.add(p > 0.05)
    assert decisions == {True, False}


def test_families_without_variance_or_difference() -> None:
    assert family_test([]).p == []
    constant = dict.fromkeys(range(7), 0.1)
    noisy = dict(enumerate([0.01, -0.02, 0.015, 0.0, -0.01, 0.02, -0.011]))
    nothing = dict.fromkeys(range(7), 0.0)
    result = family_test([constant, noisy, nothing])
    assert result.adjusted_p[0] == 2 / 2**7 and min(result.adjusted_p[1:]) > 0.5
    assert result.intervals[0] == Interval(
        pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1)
    )
    # Sums that differ by rounding only are as extreme.
    thirds = dict(enumerate([0.1, 0.2, -0.3, 0.1, 0.2, -0.3]))
    assert family_test([thirds]).p == [1.0]


def test_signs_of_many_seeds_are_drawn() -> None:
    differences = simulated_sweeps(25, shift=0.01)[:1]
    first = family_test(by_seed(differences), seed=3)
    assert first == family_test(by_seed(differences), seed=3)
    assert first.p[0] == pytest.approx(stats.ttest_1samp(differences[0], 0).pvalue, abs=0.02)
    # (b + 1) / (B + 1), since no draw of 20,000 is all of one sign.
    generator = np.random.default_rng(0)
    certain = family_test(by_seed(generator.normal(1.0, 0.1, (1, 30))))
    assert certain.p[0] == certain.smallest_p == 1 / (SIGN_DRAWS + 1)


@pytest.mark.parametrize("seeds", [3, 5, 8, 10, 15])
def test_simulated_sweeps_without_an_effect(seeds: int) -> None:
    """Student's interval covers 93 to 97 %."""
    intervals = [t_interval(row.tolist()) for row in simulated_sweeps(seeds)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("seeds", [6, 7, 10])
@pytest.mark.parametrize("effects", [[0.0] * 6, [0.05, 0.05, 0.05, 0.0, 0.0, 0.0]])
def test_a_family_is_right_as_a_whole(seeds: int, effects: list[float]) -> None:
    """Of 100 sweeps 95 or so have no false discovery, and intervals that all hold the truth."""
    generator = np.random.default_rng(seeds)
    truth = np.array(effects)
    false_discoveries = 0
    covered = 0
    for _ in range(800):
        shared = generator.normal(0, 0.01, (1, seeds))
        values = truth[:, None] + shared + generator.normal(0, 0.02, (len(truth), seeds))
        result = family_test(by_seed(values))
        wrong = [
            p <= 0.05 for p, effect in zip(result.adjusted_p, effects, strict=True) if not effect
        ]
        false_discoveries += any(wrong)
        covered += all(
            interval.low <= effect <= interval.high
            for interval, effect in zip(result.intervals, effects, strict=True)
        )
    assert false_discoveries / 800 <= 0.07
    assert covered / 800 >= 0.93


def test_differences_that_pair_nothing_agree_with_scipy() -> None:
    first, second = np.random.default_rng(1).normal(0.8, 0.02, (2, 7))
    peer = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    interval = welch_interval(first.tolist(), second.tolist())
    assert (interval.low, interval.high) == pytest.approx((peer.low, peer.high))
    assert correlation(first.tolist(), second.tolist()) == pytest.approx(
        stats.pearsonr(first, second).statistic
    )
    assert math.isnan(correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]))
    assert math.isnan(welch_interval([0.5], [0.6]).low)
    assert welch_interval([0.5, 0.5], [0.6, 0.6]).low == pytest.approx(0.1)


def test_equivalence_is_a_90_percent_interval_within_the_margin() -> None:
    for differences in simulated_sweeps(7, shift=0.004)[:50] / 5:
        ends = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
        is_inside = ends.low > -0.01 and ends.high < 0.01
        p = equivalence_p(differences.tolist(), 0.01)
        assert (p < 0.05) == is_inside
        sides = (
            stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue,
            stats.ttest_1samp(differences, 0.01, alternative="less").pvalue,
        )
        assert p == pytest.approx(max(sides))
    assert math.isnan(equivalence_p([0.0], 0.01))


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
