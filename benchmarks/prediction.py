"""How fast stacks are labelled, by every kind of windows and by MONAI, at which F1, and with how much memory.

python -m benchmarks.prediction RUN [RUN ...] [--root DIR] [--slices N] [--output benchmarks/prediction_cpu.json]

RUN is a run directory; its test slices are labelled. Each figure is of one process, one after the other, on the device
at hand. `forward` is the network alone on the whole slices, `pipeline` predict.py's way from a file to a file. Rows of
runs that are not given stay in the output where they are of the same device.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tifffile
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from fibseg.config.compose import description_of
from fibseg.data.grey import to_8bit
from fibseg.data.slices import load_slices
from fibseg.machine import choose_device, cores, set_threads
from fibseg.models.trained import TrainedModel, load_model
from fibseg.prediction.ensemble import common_precision
from fibseg.prediction.slices import autocast, model_channels, predict_slices
from fibseg.prediction.stack import Labeller, label_stack
from fibseg.prediction.staging import Kept, Output, Staging
from fibseg.prediction.whole_cell import label_stack_into
from fibseg.prediction.windows import windows_of
from fibseg.runs.collection import FinishedRun, collect
from fibseg.runs.directory import RunDirectory, find_checkpoint
from fibseg.runs.identity import read_config
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.stack import Stack, open_stack

PROJECT = Path(__file__).resolve().parents[1]
BATCH, TIMES = 16, 5
SMALL_PARENT = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
"""MB of a command; a child's peak begins at its parent's size, so the parent is a small one."""


def peak_of(step: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, seconds, and MB that the process had at most (on a GPU, its memory)."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    Path("/proc/self/clear_refs").write_text("5")
    start = perf_counter()
    result = step()
    seconds = perf_counter() - start
    told = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    used = (
        torch.cuda.max_memory_allocated() / 2**20 if cuda else int(told[1]) / 1024 if told else 0.0
    )
    return result, seconds, used


def by_monai(
    model: TrainedModel, channels: list[NDArray[np.uint8]], overlap: float, device: torch.device
) -> list[NDArray[np.uint8]]:
    """MONAI's sliding windows of the size of a patch, with Gaussian weights."""
    inferer = SlidingWindowInferer(model.patch_size, BATCH, overlap, mode="gaussian")
    network, labels = model.network.to(device).eval(), []
    for one in channels:
        image = torch.from_numpy(one).to(device)[None].float().mul_(1 / 255)
        with torch.inference_mode(), autocast(device, model.precision):
            labels.append(inferer(image, network).argmax(1)[0].to("cpu", torch.uint8).numpy())  # type: ignore[union-attr]
    return labels


def rows_of(
    run: Path, root: str | None, count: int | None, device: torch.device
) -> list[dict[str, Any]]:
    """A row for each way to cut the test slices of a run."""
    model, config = load_model(find_checkpoint(run)), read_config(RunDirectory(run))
    if config is None:
        raise SystemExit(f"{run}: no config.yaml")
    description = description_of(config["data"], str(run))
    description.root = root or description.root
    slices = load_slices(description)["test"][:count]
    truths = [one.labels for one in slices]
    channels = model_channels(
        model, [to_8bit(one.image, model.grey_range) for one in slices], None, cores()
    )
    network = model.network.to(device).eval()

    def forward() -> list[NDArray[np.uint8]]:
        labels = []
        for one in channels:
            with torch.inference_mode(), autocast(device, model.precision):
                scores = network(torch.from_numpy(one).to(device)[None].float().mul_(1 / 255))
                labels.append(scores.argmax(1)[0].to("cpu", torch.uint8).numpy())
        return labels

    def cut(kind: str, size: int | None = None) -> Callable[[], list[NDArray[np.uint8]]]:
        windows = windows_of(model, kind, size)
        return lambda: list(
            predict_slices(model, channels, windows, BATCH, device, model.precision, cores())
        )

    ways: dict[str, Callable[[], list[NDArray[np.uint8]]]] = {
        "paper": cut("paper"),
        "whole": cut("whole"),
        "tiles 1024": cut("tiles", 1024),
        "tiles 512": cut("tiles", 512),
        "blend": cut("blend"),
        "MONAI, overlap .5": lambda: by_monai(model, channels, 0.5, device),
        "MONAI, overlap .25": lambda: by_monai(model, channels, 0.25, device),
        "forward": forward,
    }
    rows = []
    for name, step in ways.items():
        forward()  # caches and pages of the way before
        labels, seconds, used = peak_of(step)
        counts = np.stack(
            [
                confusion_counts(t, p, len(model.class_names))
                for t, p in zip(truths, labels, strict=True)
            ]
        )
        f1 = dict(
            zip(
                model.class_names[1:],
                [round(one, 4) for one in mean_f1(counts)[1:].tolist()],
                strict=True,
            )
        )
        rate = round(len(slices) / seconds, 3)
        rows.append(
            {"run": run.name, "way": name, "slices_per_s": rate, "f1": f1, "mb": round(used)}
        )
    rows.append(pipeline_row(run, model, slices, device))
    return rows


def pipeline_row(
    run: Path, model: TrainedModel, slices: list[Any], device: torch.device
) -> dict[str, Any]:
    """From a TIFF to a TIFF, with reading, filtering, staging and assembling; each slice five times over."""
    images = np.stack([one.image for one in slices] * 5)
    labeller = Labeller(
        [model], windows_of(model, "whole"), device, model.precision, BATCH, cores()
    )
    with tempfile.TemporaryDirectory() as name:
        tifffile.imwrite(
            Path(name) / "image.tif", images, compression="zlib", photometric="minisblack"
        )
        stack = open_stack(Path(name) / "image.tif")

        def step() -> None:
            staging = Staging([Output(Path(name) / "labels.tif", "uint8", {})], stack.shape, None)
            label_stack_into(staging, labeller, stack, {}, (0, 1), False, Console(quiet=True))

        _, seconds, used = peak_of(step)
    rate = round(len(images) / seconds, 3)
    return {"run": run.name, "way": "pipeline", "slices_per_s": rate, "f1": {}, "mb": round(used)}


def ensemble_rows(folder: Path, root: str | None, device: torch.device) -> list[dict[str, Any]]:
    """Test F1 of the best run by validation, of the mean of several, and of turned slices; windows are whole."""
    runs = collect([folder]).runs
    best = sorted(runs, key=lambda run: -run.validation_sum)
    config = read_config(RunDirectory(best[0].path))
    if config is None:
        raise SystemExit(f"{best[0].path}: no config.yaml")
    description = description_of(config["data"], str(folder))
    description.root = root or description.root
    slices = load_slices(description)["test"]
    images = np.stack([one.image for one in slices])
    stack = Stack("test slices", images.shape, images.dtype, lambda z: images[z])
    own = [run for run in best if run.configuration == best[0].configuration]
    ways: dict[str, tuple[Sequence[FinishedRun], bool]] = {
        "best run": (best[:1], False),
        "best run, tta=d4": (best[:1], True),
        f"best {len(own[:10])} of {best[0].configuration}": (own[:10], False),
        "best 10 of all": (best[:10], False),
        "best 10 of all, tta=d4": (best[:10], True),
    }
    rows = []
    for name, (chosen, turned) in ways.items():
        models = [load_model(find_checkpoint(run.path)) for run in chosen]
        windows = windows_of(models[0], "whole")
        labeller = Labeller(
            models, windows, device, common_precision(models), BATCH, cores(), turned=turned
        )
        start = perf_counter()
        labels = [one.labels for one in label_stack(labeller, stack, range(len(slices)))]
        seconds = perf_counter() - start
        pairs = zip(slices, labels, strict=True)
        counts = np.stack(
            [
                confusion_counts(t.labels, p, len(best[0].class_names))
                for t, p in pairs
                if p is not None
            ]
        )
        f1 = dict(
            zip(
                best[0].class_names[1:],
                [round(one, 4) for one in mean_f1(counts)[1:].tolist()],
                strict=True,
            )
        )
        rate = round(len(slices) / seconds, 3)
        rows.append({"run": folder.name, "way": name, "slices_per_s": rate, "f1": f1, "mb": 0})
        print(rows[-1], flush=True)
    return rows


def assembly_rows(count: int = 40) -> list[dict[str, Any]]:
    """Milliseconds to keep a finished slice of 1024 x 1024, and to make the output of it afterwards."""
    field = gaussian_filter(
        np.random.default_rng(0).normal(size=(8, 1024, 1024)).astype(np.float32), (0, 6, 6)
    )
    labels, rows = np.digitize(field, [0, 0.03]).astype(np.uint8), []
    for name in ("labels.tif", "labels.zarr"):
        with tempfile.TemporaryDirectory() as folder:
            staging = Staging(
                [Output(Path(folder) / name, "uint8", {})], (count, 1024, 1024), [20.0, 5.0, 5.0]
            )
            staging.begin({}, lambda _: "")
            start = perf_counter()
            for z in range(count):
                staging.write(z, [labels[z % 8]], Kept(0.0, "", False))
            middle = perf_counter()
            staging.assemble()
            kept, made = (1000 * one / count for one in (middle - start, perf_counter() - middle))
        rows.append(
            {
                "run": "",
                "way": f"{name[6:]}: a slice kept, made",
                "ms": [round(kept, 1), round(made, 1)],
            }
        )
    return rows


def memory_rows(run: Path) -> list[dict[str, Any]]:
    """Whole processes of predict.py on 40 and on 400 slices of 512 x 512; the median of TIMES."""
    rows = []
    pixels = np.random.default_rng(0).integers(0, 255, (40, 512, 512)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        for depth in (40, 400):
            image, output = Path(name) / f"{depth}.tif", Path(name) / f"labels-{depth}.tif"
            with tifffile.TiffWriter(image, bigtiff=True) as file:
                for z in range(depth):
                    file.write(pixels[z % 40], contiguous=False, metadata=None)
            line = [
                sys.executable,
                "predict.py",
                f"checkpoint={run.resolve()}",
                f"image={image}",
                f"output={output}",
            ]
            command = [sys.executable, "-c", SMALL_PARENT, *line, "windows=whole", "overwrite=true"]
            used = [
                float(
                    subprocess.run(
                        command, check=True, capture_output=True, text=True, cwd=PROJECT
                    ).stdout.split()[-1]
                )
                for _ in range(TIMES)
            ]
            rows.append(
                {
                    "run": run.name,
                    "way": f"predict.py, {depth} slices",
                    "mb": round(float(np.median(used))),
                }
            )
    return rows


def main() -> None:
    """Print a table and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--root", help="where the images lie, in place of the root of the runs' data"
    )
    parser.add_argument(
        "--ensemble", type=Path, help="also the means of the best runs of this folder"
    )
    parser.add_argument("--slices", type=int, help="so many test slices")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/prediction_cpu.json"))
    options = parser.parse_args()
    device = choose_device("auto")
    set_threads(None)
    rows = [
        row for run in options.runs for row in rows_of(run, options.root, options.slices, device)
    ]
    rows += memory_rows(options.runs[0]) + assembly_rows()
    rows += ensemble_rows(options.ensemble, options.root, device) if options.ensemble else []
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} cores"
    before = json.loads(options.output.read_text()) if options.output.exists() else {}
    measured = {row["run"] for row in rows}
    kept = before.get("rows", []) if before.get("device") == name else []
    rows += [row for row in kept if row["run"] not in measured]
    options.output.write_text(json.dumps({"device": name, "rows": rows}, indent=1) + "\n")
    table = Table(
        "run",
        "way",
        "slices/s",
        "times the paper's",
        "of forward",
        "mean F1",
        "MB or ms",
        title=name,
    )
    for row in rows:
        paper, alone = (
            [one["slices_per_s"] for one in rows if (one["run"], one["way"]) == (row["run"], way)]
            for way in ("paper", "forward")
        )
        rate = row.get("slices_per_s")
        f1 = f"{np.mean(list(row['f1'].values())):.4f}" if row.get("f1") else ""
        times = f"{rate / paper[0]:.1f}" if rate and paper else ""
        share = f"{rate / alone[0]:.0%}" if rate and alone else ""
        table.add_row(
            row["run"],
            row["way"],
            f"{rate:.2f}" if rate else "",
            times,
            share,
            f1,
            str(row.get("mb", row.get("ms"))),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
