"""Whole slices beside MONAI's sliding windows, for every network of a folder: paired differences in F1, and speed.

python -m benchmarks.monai runs/vnc [--root DIR] [--output benchmarks/monai_cpu.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.prediction import BATCH, by_monai
from fibseg.comparison.paired import t_interval
from fibseg.config.compose import description_of
from fibseg.data.grey import to_8bit
from fibseg.data.slices import load_slices
from fibseg.machine import choose_device, cores, set_threads
from fibseg.models.trained import load_model
from fibseg.prediction.slices import model_channels, predict_slices
from fibseg.prediction.windows import windows_of
from fibseg.runs.collection import collect
from fibseg.runs.directory import RunDirectory, find_checkpoint
from fibseg.runs.identity import read_config
from fibseg.scores.pixels import confusion_counts, mean_f1

PEERS = ("whole", "MONAI, overlap .25", "MONAI, overlap .5")


def seed_rows(folder: Path, root: str | None, device: torch.device) -> list[dict[str, Any]]:
    """Every network of a folder: whole slices beside MONAI, with test F1 and slices per second."""
    rows: list[dict[str, Any]] = []
    loaded: dict[str, Any] = {}
    for run in sorted(collect([folder]).runs, key=lambda one: one.path.name):
        model, config = load_model(find_checkpoint(run.path)), read_config(RunDirectory(run.path))
        if config is None or model.architecture == "forest":
            continue
        description = description_of(config["data"], str(run.path))
        description.root = root or description.root
        slices = loaded.setdefault(repr(description), load_slices(description)["test"])
        channels = list(
            model_channels(
                model, [to_8bit(one.image, model.window) for one in slices], None, cores()
            )
        )
        whole = windows_of(model, "whole")
        steps: list[Callable[[], Any]] = [
            partial(
                predict_slices, model, channels, whole, BATCH, device, model.precision, cores()
            ),
            partial(by_monai, model, channels, 0.25, device),
            partial(by_monai, model, channels, 0.5, device),
        ]
        for way, step in zip(PEERS, steps, strict=True):
            start = perf_counter()
            labels = list(step())
            rate = round(len(slices) / (perf_counter() - start), 3)
            pairs = zip(slices, labels, strict=True)
            counts = np.stack(
                [confusion_counts(t.labels, p, len(model.class_names)) for t, p in pairs]
            )
            scores = [round(one, 4) for one in mean_f1(counts)[1:].tolist()]
            f1 = dict(zip(model.class_names[1:], scores, strict=True))
            told = {"run": run.path.name, "recipe": run.configuration, "way": way}
            rows.append({**told, "slices_per_s": rate, "f1": f1})
        print(*rows[-3:], sep="\n", flush=True)
    return rows


def print_seeds(rows: list[dict[str, Any]], console: Console) -> None:
    """Paired by run: how much faster whole slices are than MONAI, and the difference in F1 with its interval."""
    table = Table("runs", "peer", "class", "F1, whole less peer", "95 % interval", "times as fast")
    for recipe in sorted({row["recipe"] for row in rows}):
        own = {
            way: [one for one in rows if (one["recipe"], one["way"]) == (recipe, way)]
            for way in PEERS
        }
        for peer in PEERS[1:]:
            times = [
                a["slices_per_s"] / b["slices_per_s"]
                for a, b in zip(own["whole"], own[peer], strict=True)
            ]
            for name in own["whole"][0]["f1"]:
                found = t_interval(
                    [
                        a["f1"][name] - b["f1"][name]
                        for a, b in zip(own["whole"], own[peer], strict=True)
                    ]
                )
                cells = [
                    f"{found.mean:+.4f}",
                    f"{found.low:+.4f} to {found.high:+.4f}",
                    f"{np.median(times):.1f}",
                ]
                table.add_row(f"{recipe} ({len(times)})", peer, name, *cells)
    console.print(table)


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="of runs")
    parser.add_argument(
        "--root", help="where the images lie, in place of the root of the runs' data"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/monai_cpu.json"))
    options = parser.parse_args()
    device = choose_device("auto")
    set_threads(None)
    rows = seed_rows(options.folder, options.root, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} cores"
    options.output.write_text(json.dumps({"device": name, "rows": rows}, indent=1) + "\n")
    print_seeds(rows, Console(width=120))


if __name__ == "__main__":
    main()
