"""What regions chosen by disagreement are worth beside random ones that hold foreground.

python -m benchmarks.suggestion benchmarks/suggestion.json

The rows are those of `python -m benchmarks.evening DIR --data epfl --seed 0 --count 3 --rounds 2
--kinds foreground,disagreement --nothing "" --folder FOLDER --output FILE`; the project was copied
after the first round, which is the same for both. Seeds 0 to 2 had a shorter first round; both
sides of a pair were trained alike.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
from rich.console import Console
from rich.table import Table

from fibseg.annotation.suggestion import BY_DISAGREEMENT, BY_FOREGROUND

LAST_ROUND = 2


def main() -> None:
    """Print the test F1 of each pair, and the mean difference of each data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    rows = json.loads(parser.parse_args().file.read_text())
    scores = {
        (row["data"], row["seed"], row["kind"]): mean(row["test"].values())
        for row in rows
        if row["round"] == LAST_ROUND
    }
    table = Table("data", "seed", BY_FOREGROUND, BY_DISAGREEMENT, "difference")
    for data in sorted({key[0] for key in scores}):
        seeds = sorted({seed for name, seed, _ in scores if name == data})
        pairs = np.array(
            [
                [scores[data, seed, kind] for kind in (BY_FOREGROUND, BY_DISAGREEMENT)]
                for seed in seeds
            ]
        )
        differences = pairs[:, 1] - pairs[:, 0]
        for seed, values, difference in zip(seeds, pairs, differences, strict=True):
            table.add_row(data, str(seed), *(f"{v:.3f}" for v in values), f"{difference:+.3f}")
        signs = np.array(list(product((-1, 1), repeat=len(differences))))
        flipped = np.abs(signs @ differences)
        p = float((flipped >= abs(differences.sum()) - 1e-12).mean())
        means = [f"{value:.3f}" for value in pairs.mean(axis=0)]
        table.add_row(data, "mean", *means, f"{differences.mean():+.3f} (p = {p:.2f})")
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
