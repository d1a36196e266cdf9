"""Medians and ranges over the seeds of finished runs, as a Markdown table; and their scores as JSON for the record.

python -m benchmarks.summary runs/vnc runs/epfl [--json benchmarks/quick.json] [--pair unet-on-quick unet-off-quick]

Folders hold run directories; a JSON file holds what an earlier summary wrote. Runs of one configuration are a row.
A pair of recipes is compared seed by seed: the mean of the first less the second, and Student's 95 % interval over the
seeds that both have, on these test slices.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.comparison.paired import t_interval
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS, read_scores
from fibseg.scores.pixels import mean_f1


def facts_of(path: Path) -> dict[str, Any]:
    """What a table needs of one run: no paths, no counts."""
    content = read_scores(RunDirectory(path))
    kept = (
        "data",
        "model",
        "filter",
        "seed",
        "config_hash",
        "data_hash",
        "seconds",
        "device",
        "threads",
        "precision",
    )
    facts = {"recipe": re.sub(r"-s\d+-[0-9a-f]{8}$", "", path.name)}
    facts |= {key: content["run"][key] for key in (*kept, "versions")}
    for split in SCORED_SPLITS:
        scores = mean_f1(np.array([one["confusion"] for one in content["splits"][split]], np.int64))
        facts[split] = {
            name: round(float(score), 4)
            for name, score in zip(content["classes"], scores, strict=True)
        }
        del facts[split]["background"]
    return facts


def collect(sources: list[Path]) -> list[dict[str, Any]]:
    """Runs of folders and of earlier summaries, each once."""
    found: list[dict[str, Any]] = []
    for source in sources:
        if source.is_file():
            found += json.loads(source.read_text())
        else:
            found += [facts_of(path.parent) for path in sorted(source.glob("*/scores.json"))]
    once = {(run["data"], run["recipe"], run["config_hash"], run["seed"]): run for run in found}
    return [once[key] for key in sorted(once)]


def compare(runs: list[dict[str, Any]], first: str, second: str) -> None:
    """Print a row per data set and class of mean difference and interval."""
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
                f"| {data} | not compared: two configurations under one name, or fewer than two common seeds | | |"
            )
            continue
        for name in scores[0][seeds[0]]:
            differences = [scores[0][seed][name] - scores[1][seed][name] for seed in seeds]
            one, shown = t_interval(differences), ", ".join(map(str, seeds))
            print(
                f"| {data}, {name} | {one.mean:+.3f} | {one.low:+.3f} to {one.high:+.3f} | {shown} |"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pair", nargs=2, action="append", default=[], metavar="RECIPE")
    options = parser.parse_args()
    runs = collect(options.sources)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["data"], run["recipe"], run["config_hash"]].append(run)
    print("| data, recipe | class | validation F1 | test F1 | seeds |\n|---|---|---|---|---|")
    for (data, recipe, _), found in sorted(groups.items()):
        seeds = ", ".join(str(run["seed"]) for run in found)
        for name in found[0]["test"]:
            cells = []
            for split in SCORED_SPLITS:
                scores = [run[split][name] for run in found]
                cells.append(f"{np.median(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")
            print(f"| {data}, {recipe} | {name} | {' | '.join(cells)} | {seeds} |")
    for pair in options.pair:
        compare(runs, *pair)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
