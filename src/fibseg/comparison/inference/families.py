"""Tests of one question, judged together: what all of them find is right in 95 of 100 sweeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.inference.intervals import Interval, t_interval

_ENUMERATED_SEEDS = 16
"""Seeds up to which all 2**n signs are tried; above, SIGN_DRAWS random ones."""

SIGN_DRAWS = 20_000
"""Random signs of a sign-flip test, which give p to about .003 at .05."""

TEST_LEVEL = 0.05
"""P from which on downwards something is more than chance."""

SEEDS_FOR_TEST = 6
"""Seeds from which a two-sided 5 % test can reject: 2 / 2**6 = .031, while 2 / 2**5 = .062."""


@dataclass(frozen=True)
class FamilyTest:
    """Tests of one question, judged together.

    Attributes:
        p: of each test by itself; NaN below SEEDS_FOR_TEST seeds.
        adjusted_p: the same, so that a chance of 5 % holds for all tests of the family together.
        intervals: mean with ends that hold all means of the family at once in 95 of 100 sweeps; NaN
            ends below SEEDS_FOR_TEST seeds. They leave out 0 where `adjusted_p` is .05 or below,
            and only there.
        smallest_p: that any scores could give; NaN without a test.
    """

    p: list[float]
    adjusted_p: list[float]
    intervals: list[Interval]
    smallest_p: float


def family_test(tests: Sequence[Mapping[int, float]], seed: int = 0) -> FamilyTest:
    """Test a family of paired differences by joint sign flips: the largest |t|, step-down.

    Were there no difference, then each seed's differences could as well have the other sign, those
    of all tests at once. So every test is compared with the largest |t| that signs give among the
    tests that are not more extreme (Westfall and Young 1993, Resampling-Based Multiple Testing,
    algorithm 2.8). What tests share makes no p larger, and with n seeds the smallest p is 2 / 2**n
    however many tests there are. The ends of the intervals are the mean -+ c standard errors, where
    c is the largest |t| of all tests that one of 20 signs exceeds; a test that only the steps
    reject has 0 as an end.

    Args:
        tests: of each test, seed -> difference. A test may lack seeds.
        seed: of the signs that are drawn above 16 seeds.
    """
    seeds = sorted({number for test in tests for number in test})
    values = np.array([[test.get(number, math.nan) for number in seeds] for test in tests])
    values = values.reshape(len(tests), len(seeds)).T
    counts = (~np.isnan(values)).sum(axis=0)
    tested = np.flatnonzero(counts >= SEEDS_FOR_TEST)
    single = [t_interval(list(test.values())) for test in tests]
    result = FamilyTest(
        p=[math.nan] * len(tests),
        adjusted_p=[math.nan] * len(tests),
        intervals=[Interval(interval.mean, math.nan, math.nan) for interval in single],
        smallest_p=math.nan,
    )
    if not len(tested):
        return result
    signs = _signs(len(seeds), seed)
    sizes = _flipped_sizes(values[:, tested], signs)
    # Signs that give the same size but for rounding are as extreme; the first are those observed.
    observed = sizes[0] * (1 - 1e-9)
    descending = np.argsort(-sizes[0], kind="stable")
    # The largest size among a test and those that are less extreme.
    largest = np.maximum.accumulate(sizes[:, descending[::-1]], axis=1)[:, ::-1]
    steps = np.maximum.accumulate((largest >= observed[descending]).mean(axis=0))
    # No more than one of 20 signs lies above it, and the next one does so with them.
    critical = np.sort(largest[:, 0])[::-1][math.floor(TEST_LEVEL * len(signs) + 1e-9)]
    critical *= 1 + 1e-9
    for rank, column in enumerate(descending):
        index = int(tested[column])
        result.p[index] = float(np.mean(sizes[:, column] >= observed[column]))
        result.adjusted_p[index] = float(steps[rank])
        differences = values[~np.isnan(values[:, index]), index]
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        # Differences that are all equal have an infinite |t|, and an interval of one point.
        half = float(critical) * error if error else 0.0
        result.intervals[index] = _interval_of(single[index].mean, half, float(steps[rank]))
    smallest = max(2.0 ** (1 - int(counts[tested].max())), 1 / len(signs))
    return replace(result, smallest_p=smallest)


def _signs(seeds: int, seed: int) -> Floats:
    """Rows (F, seeds) of +1 and -1, the first of them +1 alone; each stands for its mirror, too."""
    if seeds > _ENUMERATED_SEEDS:
        # From a fixed seed, so that the same runs give the same p.
        drawn = np.random.default_rng(seed).integers(0, 2, (SIGN_DRAWS, seeds)) * 2 - 1
        # The observed signs count as one of the draws: p is never 0 (Phipson and Smyth 2010, doi
        # 10.2202/1544-6115.1585).
        return np.concatenate([np.ones((1, seeds)), drawn.astype(np.float64)])
    numbers = np.arange(2 ** (seeds - 1))[:, None]
    bits = (numbers >> np.arange(seeds - 1)) & 1
    return np.concatenate([np.ones((len(numbers), 1)), 1.0 - 2.0 * bits], axis=1)


def _flipped_sizes(values: Floats, signs: Floats) -> Floats:
    """|t| (F, tests) of the differences (seeds, tests) under each row of signs; NaN is no seed."""
    counts = (~np.isnan(values)).sum(axis=0)
    known = np.nan_to_num(values)
    squares = (known**2).sum(axis=0)
    means = signs @ known / counts
    # Differences that cancel each other but for rounding.
    means[np.abs(means) <= 1e-12 * np.sqrt(squares / counts)] = 0.0
    variances = (squares - counts * means**2) / (counts - 1)
    # Differences that are equal but for rounding have no variance.
    is_constant = variances <= 1e-12 * squares / counts
    errors = np.sqrt(np.where(is_constant, 0.0, variances) / counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(means) / errors
    return np.asarray(np.nan_to_num(sizes, nan=0.0, posinf=np.inf), np.float64)


def _interval_of(mean: float, half: float, adjusted_p: float) -> Interval:
    """The interval of a test in its family, which says about 0 what `adjusted_p` says."""
    low = mean - half
    high = mean + half
    if adjusted_p <= TEST_LEVEL and mean > 0:
        low = max(low, 0.0)
    if adjusted_p <= TEST_LEVEL and mean < 0:
        high = min(high, 0.0)
    return Interval(mean, low, high)
