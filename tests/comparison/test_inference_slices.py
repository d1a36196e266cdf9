"""Intervals over seeds and slices against scipy, scikit-learn and simulated stacks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from fibseg.comparison.inference import Interval, pooled_values, slice_interval


def volume_of(*lengths: int) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)), lengths)


def test_values_of_slices_have_the_pooled_f1_as_their_mean() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.random((2, 5, 200)) < 0.4
    truth, prediction = pixels
    counts = np.stack([truth & prediction, ~truth & prediction, truth & ~prediction], axis=-1).sum(
        axis=1
    )
    values = pooled_values(counts)
    assert values.mean() == pytest.approx(f1_score(truth.ravel(), prediction.ravel()))


def test_values_of_slices_are_derivatives_of_the_pooled_f1() -> None:
    """A slice that counts a little more moves F1 by its value less F1, over the slices."""
    counts = np.random.default_rng(1).integers(1, 100, (6, 3)).astype(float)
    hits, false_positives, false_negatives = counts.T

    def f1(weights: np.ndarray) -> float:
        total = 2 * hits + false_positives + false_negatives
        return float(2 * (weights @ hits) / (weights @ total))

    step = 1e-6
    moved = [f1(np.ones(6) + step * (np.arange(6) == k)) for k in range(6)]
    derivatives = (np.array(moved) - f1(np.ones(6))) / step
    expected = f1(np.ones(6)) + 6 * derivatives
    assert pooled_values(counts.astype(np.int64)) == pytest.approx(expected, abs=1e-5)


def test_slices_that_are_alike_leave_the_t_interval_over_seeds() -> None:
    by_seed = np.array([0.01, 0.03, 0.02, 0.05])
    values = np.repeat(by_seed[:, None], 20, axis=1)
    interval = slice_interval(values, volume_of(20))
    peer = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((peer.low, peer.high))


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_volumes_are_not_joined() -> None:
    """The order of two volumes makes no difference; as one volume they would say another thing."""
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(2, 3, 12)).cumsum(axis=2)
    joined = np.concatenate([first, second], axis=1)
    turned = np.concatenate([second, first], axis=1)
    volumes = volume_of(12, 12)
    assert ends(slice_interval(joined, volumes)) == pytest.approx(
        ends(slice_interval(turned, volumes))
    )
    assert ends(slice_interval(joined, volume_of(24))) != pytest.approx(
        ends(slice_interval(turned, volume_of(24)))
    )


def test_too_few_seeds_or_slices_have_no_ends() -> None:
    values = np.random.default_rng(3).normal(size=(2, 10))
    assert not math.isnan(slice_interval(values, volume_of(10)).low)
    for few in (values[:1], values[:, :9]):
        interval = slice_interval(few, volume_of(few.shape[1]))
        assert interval.mean == few.mean() and math.isnan(interval.low)


def test_values_that_are_equal_have_an_interval_of_one_point() -> None:
    assert slice_interval(np.full((3, 20), 0.25), volume_of(20)) == Interval(0.25, 0.25, 0.25)


def simulated(sweeps: int, seeds: int, slices: int, correlation: float) -> np.ndarray:
    """Differences (sweeps, seeds, slices) around 0 whose slices follow a chain, mostly."""
    generator = np.random.default_rng(4)
    of_slices = generator.normal(size=(sweeps, 1, slices))
    for k in range(1, slices):
        of_slices[..., k] *= math.sqrt(1 - correlation**2)
        of_slices[..., k] += correlation * of_slices[..., k - 1]
    return of_slices + 0.2 * generator.normal(size=(sweeps, seeds, 1))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_intervals_hold_the_truth_as_often_as_they_say(correlation: float) -> None:
    """Of 1,000 sweeps; Student's interval over slices does so in far fewer where they correlate."""
    values = simulated(1000, seeds=3, slices=20, correlation=correlation)
    intervals = [slice_interval(sweep, volume_of(20)) for sweep in values]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    # docs/COMPARING.md says less of slices that are nearly alike.
    assert (0.9 if correlation == 0.9 else 0.93) <= covered <= 0.98
    if correlation:
        by_slice = values.mean(axis=1)
        usual = stats.ttest_1samp(by_slice, 0, axis=1).confidence_interval()
        assert np.mean((usual.low <= 0) & (usual.high >= 0)) < 0.85


def test_blocks_take_up_volumes_of_one_slice() -> None:
    """Independent volumes of one slice each: the interval over them is about Student's."""
    values = np.random.default_rng(5).normal(size=(1, 12)).repeat(3, axis=0)
    interval = slice_interval(values, np.arange(12))
    peer = stats.ttest_1samp(values[0], 0).confidence_interval()
    assert ends(interval) == pytest.approx((peer.low, peer.high))
