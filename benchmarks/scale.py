"""How fast a stack is labelled from file to file, in megavoxels per second, and in what memory.

python -m benchmarks.scale RUN [RUN ...] [--root DIR] [--slices N] [--output FILE]
python -m benchmarks.scale RUN --large FOLDER [--root DIR] [--output FILE]

RUN is a run directory. Its test slices, over and over, are the stack. Each way reads a TIFF and
writes labels, one after the other, in this process and on the device at hand. The loop is what a
person writes first: read, filter, label the whole slice, write, in turn. "MONAI" is that loop with
its sliding windows, "the network alone" has neither files nor filter. The filter alone is measured
with 1, 2, 4 threads and so on, as many as there are cores. Beside what a prediction took, the table
has what predict.py says before of its time, memory and disk, divided by that.

With --large it prints what commands have in memory for slices of 8000 x 8000 pixels of 16 bits,
which repeat the run's test slices: stacks of 1 and of 3 are labelled and measured, and one of
4000, a sparse file of 512 GB in FOLDER, is checked, and labelled until its first slices are done.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.prediction import PROJECT, peak_of
from benchmarks.scored import ScoredRun, labels_of, monai_windows, open_scored
from fibseg.arrays import UInt8
from fibseg.data.grey import to_8bit
from fibseg.files import write_whole
from fibseg.filters import grain_filter
from fibseg.machine import choose_device, cores, set_threads
from fibseg.prediction import Labeller, windows_of
from fibseg.prediction.intensity import spread
from fibseg.prediction.output.outputs import Output
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.preflight.trial import tried
from fibseg.prediction.slices import Network
from fibseg.prediction.whole_cell import label_stack_into
from fibseg.stack import open_stack

LARGE_SIDE = 8000
"""Side of a slice of the large stacks, in pixels."""

LARGE_SLICES = (1, 3)
"""Slices of the stacks that are labelled: the memory must not grow with their number."""

DEPTH = 4000
"""Slices of the sparse stack."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@dataclass(frozen=True)
class Prediction:
    """A prediction from file to file, as predict.py does it.

    Attributes:
        scored: the run that labels.
        image: TIFF that is labelled.
        output: file or store of labels.
        kind: of the windows.
        size: of the windows, for tiles.
    """

    scored: ScoredRun
    image: Path
    output: Path
    kind: str
    size: int | None = None

    @property
    def labeller(self) -> Labeller:
        """What labels the stack."""
        return Labeller(
            models=[self.scored.model],
            windows=windows_of(self.scored.model, self.kind, self.size),
            compute=self.scored.compute,
        )

    def __call__(self) -> None:
        """Label the stack."""
        stack = open_stack(self.image)
        label_stack_into(
            staging=Staging([Output(self.output, "uint8", {})], stack.shape, None),
            labeller=self.labeller,
            stack=stack,
            identity={},
            skip_unreadable=False,
            console=Console(quiet=True),
        )

    def predicted(self) -> dict[str, float]:
        """What predict.py says before of speed, memory and disk."""
        stack = open_stack(self.image)
        depth, height, width = stack.shape
        outputs = [Output(self.output, "uint8", {})]
        needs = tried(self.labeller, stack, z=depth // 2, outputs=outputs, voxel_size=None)
        return {
            "predicted_mvox_per_s": round(height * width / 1e6 / needs.seconds, 3),
            "predicted_mb": round(needs.memory / 2**20),
            "predicted_disk_mb": round(depth * needs.disk[0] / 1e6, 2),
        }

    def disk_mb(self) -> float:
        """Megabytes of the output."""
        files = [self.output, *self.output.rglob("*")]
        return round(sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6, 2)


def by_loop(scored: ScoredRun, image: Path, output: Path, network: Network) -> None:
    """Label a stack slice by slice, one step after the other."""
    areas = scored.model.channels.areas
    with tifffile.TiffFile(image) as source, tifffile.TiffWriter(output) as target:
        for page in source.pages:
            grey = to_8bit(page.asarray(), scored.model.grey_range)
            channels = np.concatenate([grey[None], grain_filter(grey, areas)])
            target.write(labels_of(scored, channels, network), compression="zlib")


def filter_all(scored: ScoredRun, images: UInt8, threads: int) -> None:
    """Filter the slices (Z, H, W) of a stack, several at a time."""
    with ThreadPoolExecutor(threads) as pool:
        grey = (to_8bit(image, scored.model.grey_range) for image in images)
        filtered = pool.map(lambda image: grain_filter(image, scored.model.channels.areas), grey)
        for _ in filtered:
            pass


def rows_of(run: Path, root: str | None, count: int, device: torch.device) -> list[dict[str, Any]]:
    """Measure every way for one run."""
    scored = open_scored(run, root, device)
    pixels = [annotated.image for annotated in scored.slices]
    images = np.stack([pixels[z % len(pixels)] for z in range(count)])

    def alone() -> None:
        for z in range(count):
            labels_of(scored, scored.channels[z % len(pixels)], scored.model.network)

    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "image.tif"
        tifffile.imwrite(image, images, compression="zlib", photometric="minisblack")

        def predict(ending: str, kind: str = "whole", size: int | None = None) -> Prediction:
            output = Path(name) / f"{kind}-{size}.{ending}"
            return Prediction(scored, image, output, kind, size)

        def loop(network: Network) -> Callable[[], None]:
            return lambda: by_loop(scored, image, Path(name) / "loop.tif", network)

        ways: dict[str, Callable[[], None]] = {
            "predict.py, whole slices": predict("tif"),
            "predict.py, whole slices, OME-Zarr": predict("zarr"),
            "predict.py, tiles of 512": predict("tif", "tiles", 512),
            "predict.py, blend": predict("tif", "blend"),
            "predict.py, paper's windows": predict("tif", "paper"),
            "a loop": loop(scored.model.network),
            "MONAI, overlap .5": loop(monai_windows(scored, 0.5)),
            "the network alone": alone,
        }
        if scored.model.channels.areas:
            for threads in sorted({2**k for k in range(cores().bit_length())} | {cores()}):
                ways[f"the filter alone, {threads} threads"] = partial(
                    filter_all, scored, images, threads
                )
        rows = []
        alone()
        for way, step in ways.items():
            predicted = step.predicted() if isinstance(step, Prediction) else {}
            _, seconds, megabytes = peak_of(step)
            row: dict[str, Any] = {
                "run": run.name,
                "way": way,
                "mvox_per_s": round(images.size / 1e6 / seconds, 3),
                "mb": round(megabytes),
            }
            if isinstance(step, Prediction):
                row |= {"disk_mb": step.disk_mb()} | predicted
            rows.append(row)
            print(rows[-1], flush=True)
    return rows


def large_stack(folder: Path, scored: ScoredRun, depth: int) -> Path:
    """Write a stack; of a deep one only the slices that are labelled first hold pixels."""
    path = folder / f"image-{depth}.tif"
    side = LARGE_SIDE
    stack = tifffile.memmap(
        path, shape=(depth, side, side), dtype=np.uint16, photometric="minisblack"
    )
    # The first block of a prediction, and the samples of grey values, are spread over the stack.
    first = {*range(min(depth, max(LARGE_SLICES)))}
    first |= {*spread(range(depth), 5), *spread(range(depth), 16)}
    for z in sorted(first):
        pixels = scored.slices[z % len(scored.slices)].image.astype(np.uint16)
        times = [-(-side // length) for length in pixels.shape]
        stack[z] = np.tile(pixels, times)[:side, :side]
    stack.flush()
    return path


def megabytes_of(line: list[str], enough: Callable[[], bool] = lambda: False) -> int:
    """Run Python, interrupt it when it has done enough, and give the memory that it had at most."""
    process = subprocess.Popen([sys.executable, *line], cwd=PROJECT, stdout=subprocess.DEVNULL)
    is_interrupted = False
    kilobytes = 0
    while process.poll() is None:
        # The system's own figure after the end counts this process, too, whose copy it began as.
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        if peak := re.search(r"VmHWM:\s+(\d+)", status):
            kilobytes = max(kilobytes, int(peak[1]))
        if not is_interrupted and enough():
            process.send_signal(signal.SIGINT)
            is_interrupted = True
        time.sleep(0.1)
    if process.returncode not in (0, INTERRUPTED):
        raise SystemExit(f"{line}: exit code {process.returncode}")
    return round(kilobytes / 1024)


def large_rows(run: Path, root: str | None, folder: Path) -> list[dict[str, Any]]:
    """Run the commands on large stacks."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = open_scored(run, root, torch.device("cpu"))
    rows = []

    def add(name: str, line: list[str], enough: Callable[[], bool] = lambda: False) -> None:
        rows.append({"run": run.name, "way": name, "mb": megabytes_of(line, enough)})
        print(rows[-1], flush=True)

    def predict(image: Path, output: Path) -> list[str]:
        keys = [f"checkpoint={run.resolve()}", f"image={image}", f"output={output}"]
        more = ("windows=whole", "overwrite=true", "voxel_size=[5,5,5]")
        return ["predict.py", *keys, *more]

    fibseg = ["-m", "fibseg.commands.main"]
    for depth in LARGE_SLICES:
        labels = folder / f"labels-{depth}.zarr"
        add(f"predict.py, {depth} slices", predict(large_stack(folder, scored, depth), labels))
        table = ["--output", str(folder / f"objects-{depth}.csv"), "--overwrite"]
        add(f"fibseg measure, {depth} slices", [*fibseg, "measure", str(labels), *table])
    image = large_stack(folder, scored, DEPTH)
    data = folder / "large.yaml"
    names = [f"{name}={value}" for value, name in enumerate(scored.model.class_names) if value]
    classes = [word for name in names for word in ("--class", name)]
    # As if a person had corrected all of them.
    place = ["--slices", f"0:{depth}", "--offset", "0,0,0"]
    paths = [str(image), str(labels), *place, "--output", str(data)]
    new = ["new", "large", *paths, *classes, "--overwrite"]
    add(f"fibseg new, {DEPTH} slices", [*fibseg, *new])
    page = ["--page", str(folder / "check.html")]
    add(f"fibseg check, {DEPTH} slices", [*fibseg, "check", str(data), *page])
    output = folder / f"labels-{DEPTH}.zarr"
    kept = output.with_name(f".{output.name}.started")
    add(
        f"predict.py, {DEPTH} slices, interrupted",
        predict(image, output),
        lambda: len(list(kept.glob("0*"))) >= min(LARGE_SLICES),
    )
    return rows


def table_of(rows: list[dict[str, Any]], device: str) -> Table:
    """Make a table of the rows of one device; ratios are of what was predicted to what came."""
    names = ("run", "way", "Mvox/s", "MB", "time ratio", "memory ratio", "disk ratio")
    table = Table(*names, title=device)
    for row in rows:
        rate = f"{row['mvox_per_s']:.2f}" if "mvox_per_s" in row else ""
        ratios = ["", "", ""]
        if "predicted_mb" in row:
            values = (
                row["mvox_per_s"] / row["predicted_mvox_per_s"],
                row["predicted_mb"] / row["mb"],
                row["predicted_disk_mb"] / row["disk_mb"],
            )
            ratios = [f"{value:.2f}" for value in values]
        table.add_row(row["run"], row["way"], rate, str(row["mb"]), *ratios)
    return table


def main() -> None:
    """Print a table and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--root", help="where the images lie, in place of the root of the data")
    parser.add_argument("--slices", type=int, default=20, help="slices of the stack")
    parser.add_argument("--large", type=Path, help="folder of large stacks")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/scale_cpu.json"))
    options = parser.parse_args()
    device = choose_device("auto")
    set_threads(None)
    rows = []
    for run in options.runs:
        if options.large is None:
            rows += rows_of(run, options.root, options.slices, device)
        else:
            rows += large_rows(run, options.root, options.large)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} cores"
    before = json.loads(options.output.read_text()) if options.output.exists() else {}
    kept = before.get("rows", []) if before.get("device") == name else []
    measured = {(row["run"], row["way"]) for row in rows}
    rows += [row for row in kept if (row["run"], row["way"]) not in measured]
    write_whole(options.output, json.dumps({"device": name, "rows": rows}, indent=1) + "\n")
    Console(width=120).print(table_of(rows, name))


if __name__ == "__main__":
    main()
