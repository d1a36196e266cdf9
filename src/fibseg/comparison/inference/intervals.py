"""Intervals and sizes of differences between two sets of runs. Numbers in, numbers out.

The unit is the training run: both configurations were trained with the same seeds on the same
slices, and the question is whether other seeds would agree. Nothing here speaks of other slices,
cells or annotators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Half of the time of a start would be that of scipy.stats.
from scipy import special

from fibseg.arrays import Floats

_ROUNDING = 1e-12
"""Deviation of scores that are equal but for rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of Student's confidence interval; NaN ends for fewer than two values."""

    mean: float
    low: float
    high: float


def t_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of paired differences with Student's t interval.

    >>> interval = t_interval([0.01, 0.02, 0.03])
    >>> round(interval.mean, 3), round(interval.low, 4), round(interval.high, 4)
    (0.02, -0.0048, 0.0448)
    """
    values = np.asarray(differences, np.float64)
    count = len(values)
    if count < 2:
        return Interval(float(values.mean()) if count else math.nan, math.nan, math.nan)
    # Student and not a bootstrap: with 3 to 15 seeds, percentile intervals of 95 % held the truth
    # in 75 to 92 % of 2,000 simulated sweeps, the t interval in 95 %.
    quantile = special.stdtrit(count - 1, 0.5 + confidence / 2)
    half_width = quantile * values.std(ddof=1) / math.sqrt(count)
    mean = float(values.mean())
    return Interval(mean, float(mean - half_width), float(mean + half_width))


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of `second` less that of `first`, with Welch's interval, which pairs nothing.

    Where scores of one seed have nothing in common, pairing only costs degrees of freedom.

    >>> interval = welch_interval([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
    (0.1, -0.127, 0.327)
    """
    mean = float(np.mean(second) - np.mean(first)) if len(first) and len(second) else math.nan
    if min(len(first), len(second)) < 2:
        return Interval(mean, math.nan, math.nan)
    errors = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    if math.sqrt(sum(errors)) <= _ROUNDING:
        return Interval(mean, mean, mean)
    # Welch and Satterthwaite's degrees of freedom.
    parts = [error**2 / (len(of) - 1) for error, of in zip(errors, (first, second), strict=True)]
    quantile = special.stdtrit(sum(errors) ** 2 / sum(parts), 0.975)
    half_width = float(quantile * math.sqrt(sum(errors)))
    return Interval(mean, mean - half_width, mean + half_width)


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the scores of equal seeds; NaN where one side does not vary.

    >>> round(correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), 3)
    1.0
    """
    if len(first) < 3 or min(np.std(first), np.std(second)) <= _ROUNDING:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def effect_size(first: Sequence[float], second: Sequence[float]) -> float:
    """Difference of the means over the standard deviation of a score, that of both sides pooled.

    Cohen's d, not that of the differences, so that it does not depend on the pairing; NaN below two
    seeds or where no score varies.

    >>> round(effect_size([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]), 3)
    1.0
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    deviation = math.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    if deviation <= _ROUNDING:
        return math.nan
    return float((np.mean(second) - np.mean(first)) / deviation)


def equivalence_p(differences: Sequence[float], margin: float) -> float:
    """P of the claim that the mean difference lies within -margin and +margin.

    Two one-sided t tests (Schuirmann 1987), of which the larger p counts. NaN below two differences
    or where they do not vary.

    >>> round(equivalence_p([0.001, -0.002, 0.0, 0.001], 0.01), 4)
    0.0004
    """
    count = len(differences)
    if count < 2 or np.std(differences) <= _ROUNDING:
        return math.nan
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(differences))
    # Both p are tails of Student's distribution, and the nearer margin has the larger one.
    return float(special.stdtr(count - 1, (abs(mean) - margin) / error))


def fold_interval(differences: Sequence[float], folds: int) -> Interval:
    """Mean of the differences of folds with a 95 % interval, for a new training on such data.

    Folds share most of their training slices, so that they differ by less than independent sets
    would. The variance is widened by the share of tested in trained blocks, 1 in `folds` less 2
    (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366). NaN ends for fewer than two differences.

    >>> interval = fold_interval([0.01, 0.02, 0.03], folds=3)
    >>> round(interval.mean, 3), round(interval.low, 4), round(interval.high, 4)
    (0.02, -0.0297, 0.0697)
    """
    usual = t_interval(differences)
    share = 1 / max(folds - 2, 1)
    half_width = (usual.high - usual.mean) * math.sqrt(1 + len(differences) * share)
    return Interval(usual.mean, usual.mean - half_width, usual.mean + half_width)


def improvement_probability(first: Floats, second: Floats) -> float:
    """Chance that a score of `second` is above one of `first`; equal ones count one half.

    It is the statistic of Mann and Whitney over the number of pairs (Agarwal et al. 2021, arXiv
    2108.13264, section 4.3).

    >>> improvement_probability(np.array([0.1, 0.2]), np.array([0.2, 0.3]))
    0.875
    """
    differences = np.subtract.outer(second, first)
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))
