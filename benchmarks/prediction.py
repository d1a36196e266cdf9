"""How fast stacks are labelled, by every kind of windows and by MONAI, at which F1 and memory.

python -m benchmarks.prediction RUN [RUN ...] [--root DIR] [--slices N]
    [--output benchmarks/prediction_cpu.json]

RUN is a run directory; its test slices are labelled. Each figure is of one process, one after the
other, on the device at hand. `forward` is the network alone on the whole slices. Rows of runs that
are not given stay in the output where they are of the same device. `benchmarks.scale` measures
predict.py's way from a file to a file.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tifffile
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks.scored import (
    BATCH_SIZE,
    by_monai,
    by_network_alone,
    f1_of_labels,
    open_scored,
    slices_to_test,
)
from fibseg.arrays import UInt8
from fibseg.machine import Compute, choose_device, cores, set_threads
from fibseg.models.trained import load_model
from fibseg.prediction import Labeller, common_precision, label_stack, predict_slices, windows_of
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.runs import FinishedRun, collect, find_checkpoint
from fibseg.stack import Stack

PROJECT = Path(__file__).resolve().parents[1]
PROCESSES = 5
"""Processes whose memory is measured; the median counts."""

SMALL_PARENT = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
"""MB of a command; a child's peak begins at its parent's size, so the parent is a small one."""


def list_of(step: Callable[[], Iterable[UInt8]]) -> list[UInt8]:
    """Label all slices."""
    return list(step())


def peak_of(step: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, seconds, and MB that the process had at most (on a GPU, its memory)."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    # Linux forgets the largest size of the process so far.
    Path("/proc/self/clear_refs").write_text("5")
    start = perf_counter()
    result = step()
    seconds = perf_counter() - start
    if cuda:
        return result, seconds, torch.cuda.max_memory_allocated() / 2**20
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return result, seconds, int(peak[1]) / 1024 if peak else 0.0


def rows_of(
    run: Path, root: str | None, count: int | None, device: torch.device
) -> list[dict[str, Any]]:
    """A row for each way to cut the test slices of a run."""
    scored = open_scored(run, root, device, count)

    def cut(kind: str, size: int | None = None) -> Callable[[], Iterable[UInt8]]:
        windows = windows_of(scored.model, kind, size)
        return lambda: predict_slices(scored.model, scored.channels, windows, scored.compute)

    ways: dict[str, Callable[[], Iterable[UInt8]]] = {
        "paper": cut("paper"),
        "whole": cut("whole"),
        "tiles 1024": cut("tiles", 1024),
        "tiles 512": cut("tiles", 512),
        "blend": cut("blend"),
        "MONAI, overlap .5": lambda: by_monai(scored, 0.5),
        "MONAI, overlap .25": lambda: by_monai(scored, 0.25),
        "forward": lambda: by_network_alone(scored),
    }
    rows = []
    for name, step in ways.items():
        # Caches and pages that the way before left are gone then.
        by_network_alone(scored)
        labels, seconds, megabytes = peak_of(partial(list_of, step))
        rows.append(
            {
                "run": run.name,
                "way": name,
                "slices_per_s": round(len(scored.slices) / seconds, 3),
                "f1": f1_of_labels(scored.model.class_names, scored.slices, labels),
                "mb": round(megabytes),
            }
        )
    return rows


def ensemble_rows(folder: Path, root: str | None, device: torch.device) -> list[dict[str, Any]]:
    """Test F1 of the best run by validation, of the mean of several, and of turned slices.

    Windows are whole slices.
    """
    best = sorted(collect([folder]).runs, key=lambda run: -run.validation_sum)
    first = best[0]
    slices = slices_to_test(first.path, root)
    images = np.stack([annotated.image for annotated in slices])
    stack = Stack("test slices", images.shape, images.dtype, lambda z: images[z])
    same = [run for run in best if run.configuration == first.configuration][:10]
    ways: dict[str, tuple[Sequence[FinishedRun], bool]] = {
        "best run": (best[:1], False),
        "best run, tta=d4": (best[:1], True),
        f"best {len(same)} of {first.configuration}": (same, False),
        "best 10 of all": (best[:10], False),
        "best 10 of all, tta=d4": (best[:10], True),
    }
    rows = []
    for name, (runs, turned) in ways.items():
        models = [load_model(find_checkpoint(run.path)) for run in runs]
        compute = Compute(
            device=device,
            precision=common_precision(models, device),
            batch_size=BATCH_SIZE,
            filter_threads=cores(),
        )
        labeller = Labeller(
            models=models,
            windows=windows_of(models[0], "whole"),
            compute=compute,
            turned=turned,
        )
        start = perf_counter()
        labelled = list(label_stack(labeller, stack, range(len(slices))))
        rate = round(len(slices) / (perf_counter() - start), 3)
        labels = [pixels.labels for pixels in labelled if pixels.labels is not None]
        f1 = f1_of_labels(first.class_names, slices, labels)
        rows.append({"run": folder.name, "way": name, "slices_per_s": rate, "f1": f1, "mb": 0})
        print(rows[-1], flush=True)
    return rows


def assembly_rows(count: int = 40) -> list[dict[str, Any]]:
    """Milliseconds to keep a finished slice of 1024 x 1024, and to make the output of it."""
    noise = np.random.default_rng(0).normal(size=(8, 1024, 1024)).astype(np.float32)
    labels = np.digitize(gaussian_filter(noise, (0, 6, 6)), [0, 0.03]).astype(np.uint8)
    rows = []
    for name in ("labels.tif", "labels.zarr"):
        with tempfile.TemporaryDirectory() as folder:
            output = Output(Path(folder) / name, "uint8", {})
            staging = Staging([output], (count, 1024, 1024), [20.0, 5.0, 5.0])
            with StackSession(staging.folder):
                staging.begin({})
                start = perf_counter()
                for z in range(count):
                    staging.write(z, [labels[z % 8]], KeptSlice(0.0, "", zeroed=False))
                middle = perf_counter()
                staging.finish()
            seconds = (middle - start, perf_counter() - middle)
        milliseconds = [round(1000 * duration / count, 1) for duration in seconds]
        rows.append({"run": "", "way": f"{name[6:]}: a slice kept, made", "ms": milliseconds})
    return rows


def memory_rows(run: Path) -> list[dict[str, Any]]:
    """Whole processes of predict.py on 40 and on 400 slices of 512 x 512."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 512, 512)).astype(np.uint8)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for depth in (40, 400):
            image = Path(name) / f"{depth}.tif"
            with tifffile.TiffWriter(image, bigtiff=True) as file:
                for z in range(depth):
                    file.write(pixels[z % 40], contiguous=False, metadata=None)
            line = [
                *(sys.executable, "-c", SMALL_PARENT, sys.executable, "predict.py"),
                f"checkpoint={run.resolve()}",
                f"image={image}",
                f"output={Path(name) / f'labels-{depth}.tif'}",
                *("windows=whole", "overwrite=true"),
            ]
            peaks = [megabytes_of(line) for _ in range(PROCESSES)]
            way = f"predict.py, {depth} slices"
            rows.append({"run": run.name, "way": way, "mb": round(float(np.median(peaks)))})
    return rows


def megabytes_of(line: list[str]) -> float:
    """What a command of SMALL_PARENT prints last."""
    process = subprocess.run(line, check=True, capture_output=True, text=True, cwd=PROJECT)
    return float(process.stdout.split()[-1])


def table_of(rows: list[dict[str, Any]], device: str) -> Table:
    columns = ("run", "way", "slices/s", "times the paper's", "of forward", "mean F1", "MB or ms")
    table = Table(*columns, title=device)
    rates = {(row["run"], row["way"]): row.get("slices_per_s") for row in rows}
    for row in rows:
        rate = row.get("slices_per_s")
        paper = rates.get((row["run"], "paper"))
        alone = rates.get((row["run"], "forward"))
        table.add_row(
            row["run"],
            row["way"],
            f"{rate:.2f}" if rate else "",
            f"{rate / paper:.1f}" if rate and paper else "",
            f"{rate / alone:.0%}" if rate and alone else "",
            f"{np.mean(list(row['f1'].values())):.4f}" if row.get("f1") else "",
            str(row.get("mb", row.get("ms"))),
        )
    return table


def main() -> None:
    """Print a table and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--root", help="where the images lie, in place of the root of the runs' data"
    )
    parser.add_argument(
        "--ensemble", type=Path, help="also the means of the best runs of this folder"
    )
    parser.add_argument("--slices", type=int, help="number of test slices; all by default")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/prediction_cpu.json"))
    options = parser.parse_args()
    device = choose_device("auto")
    set_threads(None)
    rows = []
    for run in options.runs:
        rows += rows_of(run, options.root, options.slices, device)
    rows += memory_rows(options.runs[0]) + assembly_rows()
    rows += ensemble_rows(options.ensemble, options.root, device) if options.ensemble else []
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} cores"
    before = json.loads(options.output.read_text()) if options.output.exists() else {}
    measured = {row["run"] for row in rows}
    kept = before.get("rows", []) if before.get("device") == name else []
    rows += [row for row in kept if row["run"] not in measured]
    options.output.write_text(json.dumps({"device": name, "rows": rows}, indent=1) + "\n")
    Console(width=120).print(table_of(rows, name))


if __name__ == "__main__":
    main()
