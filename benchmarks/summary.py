"""Medians and ranges over the seeds of finished runs, as a Markdown table and as JSON.

python -m benchmarks.summary runs/vnc runs/epfl [--json benchmarks/quick.json]
    [--pair unet-on-quick_v1 unet-off-quick_v1]

Folders hold run directories; a JSON file holds what an earlier summary wrote. Runs of one
configuration are a row. A pair of recipes is compared seed by seed: the mean of the first less the
second, and Student's 95 % interval over the seeds that both have, on these test slices.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.comparison.inference import t_interval
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS, read_scores

KEPT_FACTS = (
    "data",
    "model",
    "filter",
    "seed",
    "config_hash",
    "data_hash",
    "seconds",
    "device",
    "device_name",
    "threads",
    "precision",
    "versions",
)
"""What of the facts in scores.json goes into the JSON of a summary: no paths."""


def summary_of(path: Path) -> dict[str, Any]:
    """The recipe, the facts and the scores of one run, without counts."""
    scores = read_scores(RunDirectory(path))
    summary: dict[str, Any] = {"recipe": re.sub(r"-s\d+-[0-9a-f]{8}$", "", path.name)}
    summary |= {key: scores.facts.get(key) for key in KEPT_FACTS}
    for split in SCORED_SPLITS:
        summary[split] = {name: round(f1, 4) for name, f1 in scores.f1(split).items()}
    return summary


def gather(sources: list[Path]) -> list[dict[str, Any]]:
    """Summaries of the runs in folders and in earlier summaries, each run once."""
    summaries: list[dict[str, Any]] = []
    for source in sources:
        if source.is_file():
            summaries += json.loads(source.read_text())
        else:
            summaries += [summary_of(path.parent) for path in sorted(source.glob("*/scores.json"))]
    by_run = {
        (run["data"], run["recipe"], run["config_hash"], run["seed"]): run for run in summaries
    }
    return [by_run[key] for key in sorted(by_run)]


def print_scores(runs: list[dict[str, Any]]) -> None:
    """Print a row per data set, recipe and class with medians and ranges over the seeds."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["data"], run["recipe"], run["config_hash"]].append(run)
    print("| data, recipe | class | validation F1 | test F1 | seeds |\n|---|---|---|---|---|")
    for (data, recipe, _), of_recipe in sorted(groups.items()):
        seeds = ", ".join(str(run["seed"]) for run in of_recipe)
        for name in of_recipe[0]["test"]:
            cells = []
            for split in SCORED_SPLITS:
                scores = [run[split][name] for run in of_recipe]
                cells.append(f"{np.median(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")
            print(f"| {data}, {recipe} | {name} | {' | '.join(cells)} | {seeds} |")


def print_contrast(runs: list[dict[str, Any]], first: str, second: str) -> None:
    """Print a row per data set and class with the mean difference and its interval."""
    print(f"\n| {first} less {second} | test F1 | 95 % interval | seeds |\n|---|---|---|---|")
    for data in sorted({run["data"] for run in runs}):
        arms = [
            [run for run in runs if (run["data"], run["recipe"]) == (data, recipe)]
            for recipe in (first, second)
        ]
        if not all(arms):
            continue
        scores = [{run["seed"]: run["test"] for run in arm} for arm in arms]
        seeds = sorted(scores[0].keys() & scores[1].keys())
        if any(len({run["config_hash"] for run in arm}) > 1 for arm in arms) or len(seeds) < 2:
            print(
                f"| {data} | not compared: two configurations under one name, "
                "or fewer than two common seeds | | |"
            )
            continue
        for name in scores[0][seeds[0]]:
            interval = t_interval([scores[0][seed][name] - scores[1][seed][name] for seed in seeds])
            print(
                f"| {data}, {name} | {interval.mean:+.3f} "
                f"| {interval.low:+.3f} to {interval.high:+.3f} | {', '.join(map(str, seeds))} |"
            )


def main() -> None:
    """Print the tables, and write the JSON on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pair", nargs=2, action="append", default=[], metavar="RECIPE")
    options = parser.parse_args()
    runs = gather(options.sources)
    print_scores(runs)
    for first, second in options.pair:
        print_contrast(runs, first, second)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
