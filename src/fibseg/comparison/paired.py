"""Is a difference between two configurations more than the luck of training? Numbers in, numbers out.

The unit is the training run: both configurations were trained with the same seeds on the same slices, and the question
is whether other seeds would agree. Nothing here speaks of other slices, cells or annotators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

Floats = NDArray[np.float64]

COMPLETE = 20
"""Seeds up to which every sign is tried; above, DRAWS random ones."""

DRAWS = 20_000
LEVEL = 0.05
ENOUGH = 7
"""Seeds from which a 5 % test on two sides can reject with room for a family: 2 / 2**7 = .016."""


@dataclass(frozen=True)
class Interval:
    """A mean and Student's interval around it."""

    mean: float
    low: float
    high: float


def t_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of paired differences with Student's t interval; NaN ends for fewer than two.

    >>> interval = t_interval([0.01, 0.02, 0.03])
    >>> round(interval.mean, 3), round(interval.low, 4), round(interval.high, 4)
    (0.02, -0.0048, 0.0448)
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    half = (
        stats.t.ppf(0.5 + confidence / 2, len(values) - 1)
        * values.std(ddof=1)
        / math.sqrt(len(values))
    )
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def sign_flip_p(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of the test that differences are as likely of either sign (Fisher 1935, The Design of Experiments).

    Complete up to COMPLETE differences; above, from DRAWS random signs with p = (b + 1) / (B + 1) (Phipson and Smyth
    2010, doi 10.2202/1544-6115.1585). NaN without differences.

    >>> sign_flip_p([0.1, 0.2, 0.3])
    0.25
    """
    values = np.asarray(differences, np.float64)
    count = len(values)
    if count == 0:
        return math.nan
    observed = (
        abs(values.sum()) - 1e-12 * np.abs(values).sum()
    )  # sums that differ by rounding are equal
    if count > COMPLETE:
        generator = np.random.default_rng(seed)
        signs = generator.integers(0, 2, (DRAWS, count)) * 2 - 1
        return float((np.sum(np.abs(signs @ values) >= observed) + 1) / (DRAWS + 1))
    sums = np.zeros(1)
    for value in values[1:]:  # the first sign stays: its mirror image has the same size
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums + values[0]) >= observed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p of a family of tests (Holm 1979), in the given order; NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    found = np.asarray(p_values, np.float64)
    order = [
        int(index) for index in np.argsort(found, kind="stable") if not math.isnan(found[index])
    ]
    adjusted = np.full(len(found), np.nan)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, float(found[index]) * (len(order) - rank)))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


MOST = 10_000
"""Seeds beyond which nobody asks how many more are needed."""


@cache
def _spreads(seeds: int) -> Floats:
    """Where the estimate of the deviation lies, as a share of the true one: its quantiles, equally likely."""
    middles = (np.arange(1000) + 0.5) / 1000
    return np.asarray(np.sqrt(stats.chi2.ppf(middles, seeds - 1) / (seeds - 1)), np.float64)


def power_of(seeds: int, deviation: float, effect: float, level: float = LEVEL) -> float:
    """Chance that a paired t test on two sides sees a mean difference of `effect`.

    By the noncentral t distribution, summed over the estimate of the deviation: scipy's own gives NaN far out.
    """
    if deviation == 0:
        return 1.0
    shift = effect / deviation * math.sqrt(seeds)
    edges = stats.t.ppf(1 - level / 2, seeds - 1) * _spreads(seeds)
    return float(np.mean(ndtr(shift - edges) + ndtr(-shift - edges)))


def seeds_needed(deviation: float, effect: float = 0.01, power: float = 0.8) -> int:
    """Seeds with which a paired t test sees a mean difference of `effect` with this power; MOST if not fewer.

    `deviation` is the standard deviation of the paired differences.
    """
    if power_of(MOST, deviation, effect) < power:
        return MOST
    low, high = 1, 2
    while power_of(high, deviation, effect) < power:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if power_of(middle, deviation, effect) >= power else (middle, high)
        )
    return high


def seeds_needed_range(
    differences: Sequence[float], effect: float = 0.01, power: float = 0.8
) -> tuple[int, int, int]:
    """`seeds_needed` for the observed standard deviation, and for the ends of its own 95 % interval (chi-square)."""
    values = np.asarray(differences, np.float64)
    freedom = len(values) - 1
    deviation = float(values.std(ddof=1))
    ends = [deviation * math.sqrt(freedom / stats.chi2.ppf(q, freedom)) for q in (0.975, 0.025)]
    found = [seeds_needed(one, effect, power) for one in (deviation, *ends)]
    return found[0], found[1], found[2]
