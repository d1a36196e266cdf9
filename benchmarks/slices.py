"""How often intervals over seeds and slices hold the truth, on made-up sweeps.

python -m benchmarks.slices [--sweeps 2000] [--output benchmarks/slices.json]

Each sweep has two configurations of which neither is better: over all seeds and all slices that a
cell could give, their F1 is equal. Of 100 intervals 95 should hold 0, so that the size of the test
"the interval leaves out 0" is what is lacking from 100. A slice has as many pixels as the cell
happens to show there, and its F1 moves with the seed, with the slice, and with both; slices depend
on the one before them. Two kinds of stacks, after the runs in benchmarks/runs:

seeds: seeds differ more than slices do, as on vnc.
slices: slices differ more than seeds do, as on epfl.

Four candidates, all of pooled F1, which is computed from summed counts:

pigeonhole: bootstrap of seeds and of blocks of slices, both drawn with replacement (Owen 2007, doi
    10.1214/07-AOAS122); percentiles.
blocks: bootstrap of blocks of slices, mean over the seeds at hand; percentiles.
crossed: t interval of seeds x blocks as two random factors, Satterthwaite's degrees of freedom.
fibseg: `fibseg.comparison.inference.slice_interval`: few blocks, widened for what still correlates.

The first three take blocks of slices^(1/3) slices.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from fibseg.arrays import Floats, Ints
from fibseg.comparison.inference import Interval, pooled_values, slice_interval

SEED_COUNTS = (3, 5, 7, 15)
SLICE_COUNTS = (10, 20, 40)
CORRELATIONS = (0.0, 0.5, 0.9)
"""Of a slice with the one before it."""

DRAWS = 400
"""Of a bootstrap."""


class Stack(NamedTuple):
    """Standard deviations of a difference of F1: over seeds, over slices, and of both together."""

    seeds: float
    slices: float
    both: float


STACKS = {"seeds": Stack(0.04, 0.03, 0.02), "slices": Stack(0.006, 0.045, 0.01)}
F1 = 0.8
PIXELS = 10_000
"""Of the class on a slice, in the median; sizes of slices vary by a factor of e**.3."""


def chains(generator: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Floats:
    """Standard normal numbers, of which each depends on the one before it along the last axis."""
    values = generator.normal(size=shape)
    for k in range(1, shape[-1]):
        values[..., k] *= np.sqrt(1 - correlation**2)
        values[..., k] += correlation * values[..., k - 1]
    return values


def sweep_counts(
    generator: np.random.Generator, stack: Stack, seeds: int, slices: int, correlation: float
) -> Ints:
    """Counts (configurations, seeds, slices, 3) of a sweep without any difference.

    Args:
        generator: of the random numbers.
        stack: how much F1 varies.
        seeds: of each configuration.
        slices: of the stack.
        correlation: of neighbouring slices.
    """
    pixels = PIXELS * np.exp(0.3 * chains(generator, (slices,), correlation))
    # A difference of two configurations varies by 2**.5 times as much as each of them.
    f1 = F1 + np.sqrt(0.5) * (
        stack.seeds * generator.normal(size=(2, seeds, 1))
        + stack.slices * chains(generator, (2, 1, slices), correlation)
        + stack.both * chains(generator, (2, seeds, slices), correlation)
    )
    hits = np.rint(np.clip(f1, 0, 1) * pixels)
    # As many false positives as false negatives, so that hits over pixels is F1.
    missed = np.rint(pixels) - hits
    return np.stack([hits, missed, missed], axis=-1).astype(np.int64)


def block_sums(counts: Ints) -> Ints:
    """Sums of the counts over blocks of slices^(1/3) slices."""
    slices = counts.shape[2]
    starts = np.arange(0, slices, round(slices ** (1 / 3)))
    return np.asarray(np.add.reduceat(counts, starts, axis=2), np.int64)


def bootstrap(generator: np.random.Generator, counts: Ints, draw_seeds: bool) -> Interval:
    """Percentiles of the difference of pooled F1 over draws of blocks, and of seeds."""
    sums = block_sums(counts)
    _, seeds, count, _ = sums.shape
    weights = generator.multinomial(count, np.full(count, 1 / count), DRAWS)
    drawn = np.tensordot(weights, sums, axes=(1, 2))  # (draws, configurations, seeds, 3)
    f1 = 2 * drawn[..., 0] / (2 * drawn[..., 0] + drawn[..., 1] + drawn[..., 2])
    differences = f1[:, 1] - f1[:, 0]
    shares = np.full((DRAWS, seeds), 1 / seeds)
    if draw_seeds:
        shares = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    means = (differences * shares).sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(means.mean()), float(low), float(high))


def pigeonhole(generator: np.random.Generator, counts: Ints) -> Interval:
    """Seeds and blocks drawn."""
    return bootstrap(generator, counts, draw_seeds=True)


def blocks(generator: np.random.Generator, counts: Ints) -> Interval:
    """Blocks drawn, the seeds as they are."""
    return bootstrap(generator, counts, draw_seeds=False)


def crossed(_: np.random.Generator, counts: Ints) -> Interval:
    """Seeds and blocks as random factors: the mean squares of a two-way analysis of variance."""
    values = pooled_values(block_sums(counts))
    table = values[1] - values[0]
    seeds, count = table.shape
    mean = float(table.mean())
    of_seeds = count * table.mean(axis=1).var(ddof=1)
    of_blocks = seeds * table.mean(axis=0).var(ddof=1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + mean
    of_both = (rest**2).sum() / ((seeds - 1) * (count - 1))
    # The sum of mean squares may be below each of them, and even below 0.
    square = max(of_seeds + of_blocks - of_both, of_seeds, of_blocks)
    freedom = square**2 / (of_seeds**2 / (seeds - 1) + of_blocks**2 / (count - 1))
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(square / (seeds * count)))
    return Interval(mean, mean - half, mean + half)


def fibseg(_: np.random.Generator, counts: Ints) -> Interval:
    """What `fibseg compare` prints."""
    values = pooled_values(counts)
    return slice_interval(values[1] - values[0], np.zeros(counts.shape[2], np.int64))


Candidate = Callable[[np.random.Generator, Ints], Interval]
CANDIDATES: tuple[Candidate, ...] = (pigeonhole, blocks, crossed, fibseg)


def rates(sweeps: int) -> dict[str, dict[str, dict[str, float]]]:
    """Candidate -> correlation and slices -> stack and seeds -> share of intervals that hold 0."""
    result: dict[str, dict[str, dict[str, float]]] = {
        candidate.__name__: {} for candidate in CANDIDATES
    }
    for correlation, slices, (name, stack), seeds in itertools.product(
        CORRELATIONS, SLICE_COUNTS, STACKS.items(), SEED_COUNTS
    ):
        generator = np.random.default_rng(seeds)
        covered = dict.fromkeys(result, 0)
        for _ in range(sweeps):
            counts = sweep_counts(
                generator, stack, seeds=seeds, slices=slices, correlation=correlation
            )
            for candidate in CANDIDATES:
                interval = candidate(generator, counts)
                covered[candidate.__name__] += interval.low <= 0 <= interval.high
        for candidate_name, count in covered.items():
            case = result[candidate_name].setdefault(f"{correlation:g}, {slices} slices", {})
            case[f"{name}, {seeds} seeds"] = round(count / sweeps, 3)
    return result


def table_rows(result: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Lines of a Markdown table: the lowest and the highest share over stacks and seeds."""
    heads = [f"{slices} slices" for slices in SLICE_COUNTS]
    lines = ["| candidate | correlation | " + " | ".join(heads) + " |", "|---|---|" + "---|" * 3]
    for candidate, cases in result.items():
        for correlation in CORRELATIONS:
            shares = [cases[f"{correlation:g}, {head}"].values() for head in heads]
            cells = [f"{min(of):.1%} to {max(of):.1%}" for of in shares]
            lines.append(f"| {candidate} | {correlation:g} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Print a Markdown table and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/slices.json"))
    options = parser.parse_args()
    result = rates(options.sweeps)
    content = {"sweeps": options.sweeps, "draws": DRAWS, "covered": result}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    print("\n".join(table_rows(result)))


if __name__ == "__main__":
    main()
