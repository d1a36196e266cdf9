"""How many seeds a comparison needs to see a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from fibseg.arrays import Floats

_TEST_LEVEL = 0.05

MOST_SEEDS = 10_000
"""Seeds beyond which it makes no difference how many more are needed."""


@cache
def _deviation_ratios(seeds: int) -> Floats:
    """Estimated over true standard deviation: 1000 quantiles that are equally likely."""
    # In the middle of each of a thousand parts of [0, 1]: at 0 and 1 the quantile is 0 or infinite.
    middles = (np.arange(1000) + 0.5) / 1000
    return np.asarray(np.sqrt(chdtri(seeds - 1, 1 - middles) / (seeds - 1)), np.float64)


def power_of(seeds: int, deviation: float, effect: float, level: float = _TEST_LEVEL) -> float:
    """Chance that a two-sided paired t test sees a mean difference.

    It is the noncentral t distribution, summed over the estimates of the deviation, since the
    noncentral t of scipy gives NaN for effects that are large against the deviation.

    Args:
        seeds: number of differences, 2 or more.
        deviation: standard deviation of the differences.
        effect: their mean.
        level: of the test.
    """
    # Differences that never vary are seen by any test; the quotient below would be infinite.
    if deviation == 0:
        return 1.0
    shift = effect / deviation * math.sqrt(seeds)
    edges = stdtrit(seeds - 1, 1 - level / 2) * _deviation_ratios(seeds)
    return float(np.mean(ndtr(shift - edges) + ndtr(-shift - edges)))


def seeds_needed(deviation: float, effect: float = 0.01, power: float = 0.8) -> int:
    """Seeds with which a paired t test sees a mean difference of `effect` with this power.

    `deviation` is the standard deviation of the paired differences. MOST_SEEDS stands for that
    many or more.
    """
    # Power grows with the seeds, so that doubling and then halving the bracket finds the number.
    if power_of(MOST_SEEDS, deviation, effect) < power:
        return MOST_SEEDS
    too_few = 1
    enough = 2
    while power_of(enough, deviation, effect) < power:
        too_few = enough
        enough *= 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if power_of(middle, deviation, effect) >= power:
            enough = middle
        else:
            too_few = middle
    return enough


def seeds_needed_range(
    differences: Sequence[float], effect: float = 0.01, power: float = 0.8
) -> tuple[int, int, int]:
    """`seeds_needed` for the observed standard deviation, and for the ends of its 95 % interval.

    The interval of a standard deviation follows from the chi-square distribution.
    """
    values = np.asarray(differences, np.float64)
    freedom = len(values) - 1
    deviation = float(values.std(ddof=1))
    # A large quantile belongs to the lower end: the estimate was then larger than the truth.
    smallest = deviation * math.sqrt(freedom / chdtri(freedom, 0.025))
    largest = deviation * math.sqrt(freedom / chdtri(freedom, 0.975))
    return (
        seeds_needed(deviation, effect, power),
        seeds_needed(smallest, effect, power),
        seeds_needed(largest, effect, power),
    )
