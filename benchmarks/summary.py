"""Medians and ranges over the seeds of finished runs, as a Markdown table; and their scores as JSON for the record.

python -m benchmarks.summary runs/vnc runs/epfl [--json benchmarks/quick.json]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.metrics import mean_f1
from fibseg.runs import SCORED_SPLITS, RunDirectory, read_scores


def facts_of(path: Path) -> dict[str, Any]:
    """What a table needs of one run: no paths, no counts."""
    content = read_scores(RunDirectory(path))
    kept = ("data", "model", "filter", "seed", "config_hash", "data_hash", "seconds", "device", "threads", "precision")
    facts = {key: content["run"][key] for key in (*kept, "versions")}
    for split in SCORED_SPLITS:
        scores = mean_f1(np.array([one["confusion"] for one in content["splits"][split]], np.int64))
        facts[split] = {name: round(float(score), 4) for name, score in zip(content["classes"], scores, strict=True)}
        del facts[split]["background"]
    return facts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [facts_of(path.parent) for folder in options.folders for path in sorted(folder.glob("*/scores.json"))]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["data"], run["model"], run["filter"], run["config_hash"]].append(run)
    print("| data, model, filter | class | validation F1 | test F1 | seeds |\n|---|---|---|---|---|")
    for (data, model, filtering, _), found in sorted(groups.items()):
        for name in found[0]["test"]:
            cells = []
            for split in SCORED_SPLITS:
                scores = [run[split][name] for run in found]
                cells.append(f"{np.median(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")
            seeds = ", ".join(str(run["seed"]) for run in sorted(found, key=lambda run: run["seed"]))
            print(f"| {data}, {model}, filter {filtering} | {name} | {' | '.join(cells)} | {seeds} |")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
