"""How often intervals and tests of `fibseg compare` are right, on made-up sweeps.

python -m benchmarks.seeds [--sweeps 2000] [--output benchmarks/seeds.json]

Each sweep has two configurations that do not differ. Of 100 intervals 95 should hold 0, and of 100
tests at most 5 should reject. Scores are drawn in four ways:

normal: as the theory assumes.
skewed: most runs are near the best, a few far below (an exponential tail).
collapsed: one run of ten falls by .3.
slices: normal over seeds, but on these five test slices one configuration happens to be better: a
    difference of standard deviation .01 per slice that would average out over other slices. The
    question is then one that a single stack cannot answer: whether they differ on other slices.

A family has nine such tests, which share a part of their noise; in the last row, three of the nine
do differ, by .03. Then it is counted how often any of its p is wrong, and how often all of its
joint intervals hold the truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.inference import family_test, t_interval

SEED_COUNTS = (3, 5, 6, 7, 10, 15)
DEVIATION = 0.02
"""Standard deviation of a score over seeds."""

SLICE_DEVIATION = 0.01
TEST_SLICES = 5
FAMILY_SEED_COUNTS = (6, 7, 10, 15)
TESTS = 9
TESTS_WITH_EFFECT = 3
EFFECT = 0.03
Draw = Callable[[np.random.Generator, int, int], Floats]
"""Generator, sweeps, seeds -> (sweeps, seeds) differences of two scores."""


def normal(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences of two normal scores."""
    first, second = generator.normal(0, DEVIATION, (2, sweeps, seeds))
    differences: Floats = second - first
    return differences


def skewed(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences of two scores with a long tail of bad runs."""
    first, second = -generator.exponential(DEVIATION, (2, sweeps, seeds))
    differences: Floats = second - first
    return differences


def collapsed(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences where one run of ten collapses, on either side."""
    falls = 0.3 * (generator.random((2, sweeps, seeds)) < 0.1)
    differences: Floats = normal(generator, sweeps, seeds) + falls[0] - falls[1]
    return differences


def slices(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences to which the slices of this stack add the same for every seed of a sweep."""
    of_stack = generator.normal(0, SLICE_DEVIATION, (sweeps, TEST_SLICES)).mean(axis=1)
    differences: Floats = normal(generator, sweeps, seeds) + of_stack[:, None]
    return differences


def error_rates(draw: Draw, seeds: int, sweeps: int) -> dict[str, float]:
    """Share of intervals that hold 0, and of sign-flip tests that reject at 5 %."""
    differences = draw(np.random.default_rng(seeds), sweeps, seeds)
    intervals = [t_interval(row.tolist()) for row in differences]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    p_values = [family_test([dict(enumerate(row.tolist()))]).p[0] for row in differences]
    rejected = np.mean([p <= 0.05 for p in p_values])
    return {"covered": round(float(covered), 3), "rejected": round(float(rejected), 3)}


def family_rates(draw: Draw, seeds: int, sweeps: int, effect: float) -> dict[str, float]:
    """Share of families whose intervals all hold the truth, and of those with a false rejection."""
    generator = np.random.default_rng(seeds)
    truth = np.zeros(TESTS)
    truth[:TESTS_WITH_EFFECT] = effect
    covered = 0
    wrong = 0
    for _ in range(sweeps):
        shared = draw(generator, 1, seeds) / 2
        values = draw(generator, TESTS, seeds) + shared + truth[:, None]
        result = family_test([dict(enumerate(row.tolist())) for row in values])
        pairs = list(zip(result.intervals, truth, strict=True))
        covered += all(interval.low <= value <= interval.high for interval, value in pairs)
        wrong += any(
            p <= 0.05 and not value for p, value in zip(result.adjusted_p, truth, strict=True)
        )
    return {"covered": round(covered / sweeps, 3), "rejected": round(wrong / sweeps, 3)}


def print_rates(rates: dict[str, dict[str, dict[str, float]]], seed_counts: Sequence[int]) -> None:
    """Print a Markdown table."""
    print("| scores | " + " | ".join(f"{seeds} seeds" for seeds in seed_counts) + " |")
    print("|---|" + "---|" * len(seed_counts))
    for name, row in rates.items():
        cells = [f"{rate['covered']:.1%} / {rate['rejected']:.1%}" for rate in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print two Markdown tables and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/seeds.json"))
    options = parser.parse_args()
    draws: list[Draw] = [normal, skewed, collapsed, slices]
    rates = {
        draw.__name__: {
            str(seeds): error_rates(draw, seeds, options.sweeps) for seeds in SEED_COUNTS
        }
        for draw in draws
    }
    families = {
        name: {
            str(seeds): family_rates(draw, seeds, options.sweeps, effect)
            for seeds in FAMILY_SEED_COUNTS
        }
        for name, draw, effect in (
            *((draw.__name__, draw, 0.0) for draw in draws[:3]),
            ("normal, three differ", normal, EFFECT),
        )
    }
    content = {"sweeps": options.sweeps, "scores": rates, "families": families}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    print_rates(rates, SEED_COUNTS)
    print()
    print_rates(families, FAMILY_SEED_COUNTS)


if __name__ == "__main__":
    main()
