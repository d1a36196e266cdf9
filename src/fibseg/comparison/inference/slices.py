"""Differences of pooled F1 over seeds and slices: whether other ones of both would agree.

Neighbouring slices resemble each other, so that 20 of them say less than 20 independent ones.
Nothing here speaks of other cells or annotators.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from fibseg.arrays import Floats, Ints
from fibseg.comparison.inference.intervals import Interval

SLICE_BLOCKS = 4
"""Blocks of neighbouring slices whose means are compared, over all volumes at least.

A few long blocks, since short ones still resemble each other (Ibragimov and Müller 2010, doi
10.1198/jbes.2009.08046)."""

SLICES_FOR_INTERVAL = 20
"""Slices from which the interval covers; docs/COMPARING.md has the simulation."""

FEWEST_SLICES = 10
"""Slices below which their correlation cannot be estimated at all."""

SEEDS_FOR_SLICES = 3
"""Seeds from which it does."""

_HIGHEST_CORRELATION = 0.95
"""Of neighbouring slices. Nearer to 1 all slices count as one, and no interval is finite."""


def pooled_values(counts: Ints) -> Floats:
    """Split pooled F1 into values of the slices, whose mean it is: (..., S, 3) -> (..., S).

    With F = 2 TP / (2 TP + FP + FN) of all slices together, the value of a slice is F plus what the
    slice adds to it in first order: the linearisation of a ratio (Cochran 1977, Sampling
    Techniques, chapter 6). A mean of F1 per slice would weigh a slice with few pixels of the class
    like any other.

    Args:
        counts: true positives, false positives and false negatives of each slice.

    >>> pooled_values(np.array([[3, 1, 1], [1, 1, 3]])).round(3).tolist()
    [0.776, 0.367]
    """
    hits = 2 * counts[..., 0]
    total = hits + counts[..., 1] + counts[..., 2]
    mean = total.mean(axis=-1, keepdims=True)
    # NaN where no slice has a pixel of the class.
    with np.errstate(invalid="ignore"):
        f1 = hits.mean(axis=-1, keepdims=True) / mean
        return np.asarray(f1 + (hits - f1 * total) / mean, np.float64)


def slice_interval(values: Floats, volumes: Ints, held: int | None = None) -> Interval:
    """Mean of differences with a 95 % interval over seeds and slices, two crossed random factors.

    The variance of the mean is that over seeds plus that over slices, with the degrees of freedom
    of Satterthwaite (1946, doi 10.2307/3002019). What seeds and slices have in common is in both of
    them, so that the sum is rather too large. The part of the slices is taken from the means of
    SLICE_BLOCKS blocks of neighbours, and widened by the correlation that these still have if each
    slice depends on the one before it. Without two seeds, or a slice for each block, the ends are
    NaN.

    Args:
        values: differences (seeds, S) of `pooled_values`; slices in order of volume and z.
        volumes: the volume (S,) of each slice; blocks and neighbours are of one volume.
        held: how many of the slices hold the class, since the others say nothing of it; all for
            None.
    """
    seeds, slices = values.shape
    mean = float(values.mean())
    if seeds < 2 or min(slices, slices if held is None else held) < FEWEST_SLICES:
        return Interval(mean, math.nan, math.nan)
    over_slices, freedom = _variance_over_slices(values.mean(axis=0) - mean, volumes)
    over_seeds = float(values.mean(axis=1).var(ddof=1)) / seeds
    variance = over_seeds + over_slices
    # Differences that are equal but for rounding.
    if variance <= (1e-12 * float(np.abs(values).max())) ** 2:
        return Interval(mean, mean, mean)
    freedom = variance**2 / (over_seeds**2 / (seeds - 1) + over_slices**2 / freedom)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def _variance_over_slices(deviations: Floats, volumes: Ints) -> tuple[float, float]:
    """Variance of the mean of slices, and its degrees of freedom, from deviations (S,) from it."""
    slices = len(deviations)
    same_volume = volumes[:, None] == volumes
    distances = np.abs(np.subtract.outer(np.arange(slices), np.arange(slices)))
    correlations = np.where(same_volume, _correlation_bound(deviations, volumes) ** distances, 0.0)
    blocks = _block_numbers(volumes)
    # Rows give the sum of a block over S, less that of as many slices of the mean.
    sums = (blocks == np.arange(blocks.max() + 1)[:, None]) / slices
    sums = sums - sums.mean(axis=1, keepdims=True)
    block_values = sums @ deviations
    # Expected products of these values, and the variance of the mean, for slices of variance 1.
    products = sums @ correlations @ sums.T
    expected = float(np.trace(products))
    freedom = expected**2 / float(np.trace(products @ products))
    return float(block_values @ block_values) / expected * float(correlations.mean()), freedom


def _correlation_bound(deviations: Floats, volumes: Ints) -> float:
    """Correlation of neighbouring slices, one standard error above its estimate; 0 or more.

    The estimate is low by (1 + 4 r) / S in the mean (Marriott and Pope 1954, doi
    10.1093/biomet/41.3-4.390). With the estimate itself the interval covers less where the
    correlation is .9, since an estimate that is too low narrows it by more than one that is too
    high by as much widens it.
    """
    slices = len(deviations)
    squares = float(deviations @ deviations)
    if squares == 0:
        return 0.0
    neighbours = volumes[1:] == volumes[:-1]
    products = float((deviations[1:] * deviations[:-1])[neighbours].sum())
    # The mean of the estimate, r - (1 + 4 r) / S, solved for r; more volumes have fewer neighbours.
    divisor = max(int(neighbours.sum()) - 3, 1)
    estimate = min(max((products / squares * slices + 1) / divisor, 0.0), 1.0)
    bound = estimate + math.sqrt((1 - estimate**2) / slices)
    return min(bound, _HIGHEST_CORRELATION)


def _block_numbers(volumes: Ints) -> Ints:
    """The block (S,) of each slice, from 0; each volume has blocks of equal length of its own."""
    numbers = np.zeros(len(volumes), np.int64)
    first = 0
    for volume in dict.fromkeys(volumes.tolist()):
        of_volume = np.flatnonzero(volumes == volume)
        # Rounded up: no volume is without a block, and there are SLICE_BLOCKS or more.
        count = math.ceil(SLICE_BLOCKS * len(of_volume) / len(volumes))
        for part in np.array_split(of_volume, count):
            numbers[part] = first
            first += 1
    return numbers
