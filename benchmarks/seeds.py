"""How often intervals and tests of `fibseg compare` are right, on made-up sweeps without an effect.

python -m benchmarks.seeds [--sweeps 2000] [--output benchmarks/seeds.json]

Each sweep has two configurations that do not differ. Of 100 intervals 95 should hold 0, and of 100
tests at most 5 should reject. Scores are drawn in four ways:

normal      as the theory assumes skewed      most runs are near the best, a few far below (an
exponential tail) collapsed   one run of ten falls by .3 slices      normal over seeds, but on these
five test slices one configuration happens to be better: a
            difference of standard deviation .01 per slice that would average out over other slices.
            The question is then one that a single stack cannot answer: whether they differ on
            other slices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.paired import sign_flip_p, t_interval

SEED_COUNTS = (3, 5, 8, 10, 15)
DEVIATION = 0.02
"""Standard deviation of a score over seeds."""

SLICE_DEVIATION = 0.01
TEST_SLICES = 5
Draw = Callable[[np.random.Generator, int, int], Floats]
"""Generator, sweeps, seeds -> (sweeps, seeds) differences of two scores."""


def normal(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences of two normal scores."""
    first, second = generator.normal(0, DEVIATION, (2, sweeps, seeds))
    return second - first


def skewed(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences of two scores with a long tail of bad runs."""
    first, second = -generator.exponential(DEVIATION, (2, sweeps, seeds))
    return second - first


def collapsed(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences where one run of ten collapses, on either side."""
    falls = 0.3 * (generator.random((2, sweeps, seeds)) < 0.1)
    return normal(generator, sweeps, seeds) + falls[0] - falls[1]


def slices(generator: np.random.Generator, sweeps: int, seeds: int) -> Floats:
    """Differences to which the slices of this stack add the same for every seed of a sweep."""
    of_stack = generator.normal(0, SLICE_DEVIATION, (sweeps, TEST_SLICES)).mean(axis=1)
    return normal(generator, sweeps, seeds) + of_stack[:, None]


def error_rates(draw: Draw, seeds: int, sweeps: int) -> dict[str, float]:
    """Share of intervals that hold 0, and of sign-flip tests that reject at 5 %."""
    differences = draw(np.random.default_rng(seeds), sweeps, seeds)
    intervals = [t_interval(row.tolist()) for row in differences]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    rejected = np.mean([sign_flip_p(row.tolist()) <= 0.05 for row in differences])
    return {"covered": round(float(covered), 3), "rejected": round(float(rejected), 3)}


def main() -> None:
    """Print a Markdown table and write the figures."""
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
    content = {"sweeps": options.sweeps, "scores": rates}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    print("| scores | " + " | ".join(f"{seeds} seeds" for seeds in SEED_COUNTS) + " |")
    print("|---|" + "---|" * len(SEED_COUNTS))
    for name, row in rates.items():
        cells = [f"{rate['covered']:.1%} / {rate['rejected']:.1%}" for rate in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
