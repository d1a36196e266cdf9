"""Whole slices beside MONAI's sliding windows, for every network of a folder.

python -m benchmarks.monai runs/vnc [--root DIR] [--output benchmarks/monai_cpu.json]

The table shows paired differences in F1, and how many times as fast whole slices are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scored import by_monai, f1_of_labels, open_scored
from fibseg.comparison import t_interval
from fibseg.errors import FibsegError
from fibseg.machine import choose_device, cores, set_threads
from fibseg.models import model_kind
from fibseg.prediction import predict_slices, windows_of
from fibseg.runs import FinishedRun, collect

WHOLE = "whole"
OVERLAPS = {"MONAI, overlap .25": 0.25, "MONAI, overlap .5": 0.5}
"""Names of MONAI's ways, and the share by which its windows overlap."""


def rows_of(run: FinishedRun, root: str | None, device: torch.device) -> list[dict[str, Any]]:
    """A run by whole slices and by MONAI, with test F1 and slices per second."""
    scored = open_scored(run.path, root, device)
    whole = windows_of(scored.model, "whole")
    steps: dict[str, Any] = {
        WHOLE: lambda: predict_slices(scored.model, scored.channels, whole, scored.compute)
    }
    for way, overlap in OVERLAPS.items():
        steps[way] = lambda overlap=overlap: by_monai(scored, overlap)
    rows = []
    for way, step in steps.items():
        start = perf_counter()
        labels = list(step())
        rows.append(
            {
                "run": run.path.name,
                "recipe": run.configuration,
                "way": way,
                "slices_per_s": round(len(scored.slices) / (perf_counter() - start), 3),
                "f1": f1_of_labels(scored.model.class_names, scored.slices, labels),
            }
        )
    return rows


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Paired by run: how much faster whole slices are than MONAI, and the difference in F1."""
    table = Table("runs", "peer", "class", "F1, whole less peer", "95 % interval", "times as fast")
    for recipe in sorted({row["recipe"] for row in rows}):
        of_recipe = [row for row in rows if row["recipe"] == recipe]
        whole = [row for row in of_recipe if row["way"] == WHOLE]
        for peer in OVERLAPS:
            pairs = list(zip(whole, [row for row in of_recipe if row["way"] == peer], strict=True))
            ratios = [first["slices_per_s"] / second["slices_per_s"] for first, second in pairs]
            for name in whole[0]["f1"]:
                interval = t_interval(
                    [first["f1"][name] - second["f1"][name] for first, second in pairs]
                )
                table.add_row(
                    f"{recipe} ({len(pairs)})",
                    peer,
                    name,
                    f"{interval.mean:+.4f}",
                    f"{interval.low:+.4f} to {interval.high:+.4f}",
                    f"{np.median(ratios):.1f}",
                )
    return table


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of runs")
    parser.add_argument(
        "--root", help="where the images lie, in place of the root of the runs' data"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/monai_cpu.json"))
    options = parser.parse_args()
    device = choose_device("auto")
    set_threads(None)
    rows: list[dict[str, Any]] = []
    for run in sorted(collect([options.folder]).runs, key=lambda run: run.path.name):
        if not model_kind(run.facts["model"]).by_gradient:
            continue
        rows += rows_of(run, options.root, device)
        print(*rows[-1 - len(OVERLAPS) :], sep="\n", flush=True)
    if not rows:
        raise FibsegError(f"{options.folder}: no finished run of a network in it.")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} cores"
    options.output.write_text(json.dumps({"device": name, "rows": rows}, indent=1) + "\n")
    Console(width=120).print(table_of(rows))


if __name__ == "__main__":
    main()
