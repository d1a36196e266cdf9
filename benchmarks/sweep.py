"""How busy a sweep keeps this machine: 2 models x 2 filters x 3 seeds of a tiny recipe.

python -m benchmarks.sweep [--seeds 3] [--basic] [--json benchmarks/sweep.json]

The makespan is the time from the start of the first run to the end of the last one. The time of a
run begins when it gets its cores, so that importing torch counts as work, and starting its process
does not. Everything before the first run (composing, reading the data, starting Ray) is start-up.
With --basic, the same runs are also trained by hydra/launcher=basic: one after the other, in one
process with all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from fibseg.machine import cores, versions

PROJECT = Path(__file__).resolve().parents[1]
RECIPE = [
    "model=unet,eunet",
    "filter=on,off",
    "size=quick",
    "patches.size=64",
    "training.epochs=2",
    "training.batches=40",
    "training.validation_batches=4",
    "machine.device=cpu",
]


def run_sweep(folder: Path, *overrides: str) -> tuple[float, str]:
    """Seconds of the whole command, and what it printed."""
    folders = [
        f"data.root={folder}/data",
        f"machine.runs={folder}/runs",
        f"machine.cache={folder}/cache",
    ]
    start = perf_counter()
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), "-m", *RECIPE, *folders, *overrides],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return perf_counter() - start, result.stdout


def main() -> None:
    """Run the sweep, then print and write its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--basic", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds = f"seed=range({options.seeds})"
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        seconds, printed = run_sweep(Path(folder), seeds)
    # The first and the last line that the driver prints.
    runs, slots = map(int, re.findall(r"^(\d+) runs, (\d+) at a time", printed, re.M)[0])
    run_time, makespan = map(
        float, re.findall(r"^([\d.]+) s of runs in ([\d.]+) s", printed, re.M)[-1]
    )
    figures: dict[str, Any] = {
        "cores": cores(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", ""),
        "versions": versions(),
        "runs": runs,
        "slots": slots,
        "run_time_s": run_time,
        "makespan_s": makespan,
        "start_up_s": seconds - makespan,
        "makespan_over_run_time_per_slot": makespan / (run_time / slots),
    }
    if options.basic:
        with tempfile.TemporaryDirectory(prefix="fs") as folder:
            figures["basic_s"], _ = run_sweep(Path(folder), seeds, "hydra/launcher=basic")
        figures["whole_over_basic"] = seconds / figures["basic_s"]
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
