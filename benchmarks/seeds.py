"""How often the intervals and tests of `fibseg compare` are right, on sweeps made up without any effect.

python -m benchmarks.seeds [--sweeps 2000] [--output benchmarks/seeds.json]

Each sweep has two configurations that do not differ. Of 100 intervals 95 should hold 0, and of 100 tests 5 or fewer
should say that they differ. Scores are drawn in four ways:

normal      as the theory wants them
skewed      most runs are near the best, a few far below (an exponential tail)
collapsed   one run of ten falls by .3
slices      normal over seeds, but on these five test slices one configuration happens to be better: a difference of
            standard deviation .01 per slice that would even out over other slices. Asked here is what nobody can answer
            from one stack: whether they differ on other slices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison.paired import sign_flip_p, t_interval

SEEDS = (3, 5, 8, 10, 15)
DEVIATION, SLICES = 0.02, 5
Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def normal(generator: np.random.Generator, sweeps: int, seeds: int) -> NDArray[np.float64]:
    """(sweeps, seeds) differences of two scores, as the others."""
    first, second = generator.normal(0, DEVIATION, (2, sweeps, seeds))
    return second - first


def skewed(generator: np.random.Generator, sweeps: int, seeds: int) -> NDArray[np.float64]:
    """Both sides have a long tail of bad runs."""
    first, second = -generator.exponential(DEVIATION, (2, sweeps, seeds))
    return second - first


def collapsed(generator: np.random.Generator, sweeps: int, seeds: int) -> NDArray[np.float64]:
    """One run of ten falls, on either side."""
    falls = 0.3 * (generator.random((2, sweeps, seeds)) < 0.1)
    return normal(generator, sweeps, seeds) + falls[0] - falls[1]


def slices(generator: np.random.Generator, sweeps: int, seeds: int) -> NDArray[np.float64]:
    """What this stack's slices add is the same for every seed of a sweep."""
    here = generator.normal(0, 0.01, (sweeps, SLICES)).mean(axis=1)
    return normal(generator, sweeps, seeds) + here[:, None]


def figures(draw: Draw, seeds: int, sweeps: int) -> dict[str, float]:
    """Share of intervals that hold 0, and of sign-flip tests that reject at 5 %."""
    differences = draw(np.random.default_rng(seeds), sweeps, seeds)
    intervals = [t_interval(row.tolist()) for row in differences]
    covered = np.mean([one.low <= 0 <= one.high for one in intervals])
    rejected = np.mean([sign_flip_p(row.tolist()) <= 0.05 for row in differences])
    return {"covered": round(float(covered), 3), "rejected": round(float(rejected), 3)}


def main() -> None:
    """Print a Markdown table and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/seeds.json"))
    options = parser.parse_args()
    draws: list[Draw] = [normal, skewed, collapsed, slices]
    found = {
        draw.__name__: {str(n): figures(draw, n, options.sweeps) for n in SEEDS} for draw in draws
    }
    options.output.write_text(
        json.dumps({"sweeps": options.sweeps, "scores": found}, indent=1) + "\n"
    )
    print("| scores | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for name, row in found.items():
        cells = [f"{one['covered']:.1%} / {one['rejected']:.1%}" for one in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
