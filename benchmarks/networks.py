"""Both networks on the device at hand: size, patches per second, memory, parts of a step.

python -m benchmarks.networks [--size quick] [--device cpu] [--steps 10] [--no-compile]
                              [--json FILE]

A training step is forward with Dice, backward and Adam on one fixed batch of four patches, as a
bare loop. "Lightning" is the same step through the project's module, data module, callbacks and
progress bar, epochs in turn with bare ones; "waiting" is the part of it that goes to cutting and
moving the patches, and to Lightning's loop between two steps. Rows are for 32 bits and bf16 where
the device computes with it; the compiled ones are of what precision=auto chooses.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.steps import Step, memory_of, through_lightning
from fibseg.machine import Compute, choose_device, choose_precision, cores, set_threads, versions
from fibseg.models.kinds import KINDS


@dataclass(frozen=True)
class Case:
    """A row of the table: network, size of the recipe, device, precision, compiled or not."""

    network: str
    size: str
    device: str
    precision: str
    compiled: bool


def measure(case: Case, steps: int) -> dict[str, Any]:
    """Measure one row, in a process of its own so that its peak memory is its own."""
    device = choose_device(case.device)
    compute = Compute(device=device, precision=case.precision, batch_size=16, filter_threads=1)
    threads = set_threads(None)
    step = Step(case.network, case.size, compute, case.compiled)
    for _ in range(2):
        step.train()
    forward, backward, adam = (
        median(part) for part in zip(*(step.train() for _ in range(steps)), strict=True)
    )
    row: dict[str, Any] = {
        "network": case.network,
        "size": case.size,
        "side": step.config.patches.size,
        "compiled": case.compiled,
        "precision": case.precision,
        "threads": threads,
        "parameters": sum(weights.numel() for weights in step.network.parameters()),
        "training_patches_per_second": 4 / (forward + backward + adam),
        "forward_s": forward,
        "backward_s": backward,
        "optimizer_s": adam,
        "peak_gib_training": memory_of(device),
    }
    if not case.compiled:
        with TemporaryDirectory() as folder:
            row |= through_lightning(step, steps, Path(folder))
        # Lightning leaves the network on the host.
        step.network.to(device).to(memory_format=torch.channels_last)
    step.network.eval()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step.infer()
    row["inference_patches_per_second"] = 16 / median(step.infer() for _ in range(steps))
    if device.type == "cuda":
        row["peak_gib_inference"] = memory_of(device)
    if not case.compiled:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            step.network(step.images[:1])
        row["multiply_adds_per_patch"] = counter.get_total_flops() // 2
    return row


def device_name(device: torch.device) -> str:
    """Name the device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{models[0] if models else 'CPU'}, {cores()} cores"


def show(rows: list[dict[str, Any]], device: str) -> None:
    """Print the table."""
    columns = (
        "network",
        "side",
        "bits",
        "compiled",
        "parameters",
        "GMAC a patch",
        "training patches/s",
        "inference patches/s",
        "forward / backward / Adam, ms",
        "waiting, ms",
        "Lightning / bare",
        "peak GiB",
    )
    table = Table(*columns, title=device)
    for row in rows:
        macs = row.get("multiply_adds_per_patch")
        lightning = row.get("lightning_over_bare")
        parts = " / ".join(
            f"{1000 * row[part]:.1f}" for part in ("forward_s", "backward_s", "optimizer_s")
        )
        table.add_row(
            row["network"],
            str(row["side"]),
            row["precision"],
            str(row["compiled"]),
            f"{row['parameters']:,}",
            f"{macs / 1e9:.2f}" if macs else "",
            f"{row['training_patches_per_second']:.2f}",
            f"{row['inference_patches_per_second']:.2f}",
            parts,
            f"{1000 * row['waiting_for_a_batch_s']:.1f}" if lightning else "",
            f"{lightning:.3f}" if lightning else "",
            f"{row['peak_gib_training']:.2f}",
        )
    Console(width=150).print(table)


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("paper", "quick"), default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    device = choose_device(options.device)
    best = choose_precision("auto", device, depthwise=False)
    rows = []
    for name in ("unet", "eunet"):
        auto = choose_precision("auto", device, KINDS[name].depthwise)
        ways = [(precision, False) for precision in dict.fromkeys(("32", best))]
        for precision, compiled in ways if options.no_compile else [*ways, (auto, True)]:
            case = Case(name, options.size, options.device, precision=precision, compiled=compiled)
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                rows.append(pool.submit(measure, case, options.steps).result())
    name_of_device = device_name(device)
    show(rows, name_of_device)
    if options.json:
        figures = {"device": name_of_device, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
