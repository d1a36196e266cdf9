"""How long 120 runs take to compare, how much memory, and how soon their page opens.

python -m benchmarks.comparison [--runs 120] [--slices 39] [--side 1024] [--output benchmarks/comparison.json]

The runs are made up: a phantom's labels as the truth, and for each run the same labels with some blobs changed.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.machine import cores
from fibseg.phantom.cell import make_phantom
from fibseg.runs.components import write_components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import write_scores
from fibseg.scores.slices import SplitScore, score_slices
from fibseg.stack import write_pages

NAMES = ["background", "mitochondrion", "membrane", "er"]
ARMS = [("unet", "off"), ("unet", "on"), ("eunet", "off"), ("eunet", "on")]
VARIANTS = 6
SMALL_PARENT = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Seconds and bytes of a command; a child's peak begins at its parent's size, so the parent is a small one."""


def changed(
    truth: NDArray[np.uint8], generator: np.random.Generator, share: float
) -> NDArray[np.uint8]:
    """Labels (S, H, W) with a share of their pixels, in blobs, replaced by those of elsewhere."""
    coarse = generator.random((len(truth), truth.shape[1] // 16 + 1, truth.shape[2] // 16 + 1))
    field = np.stack(
        [ndimage.zoom(one, 16, order=1)[: truth.shape[1], : truth.shape[2]] for one in coarse]
    )
    return np.where(field < share, np.roll(truth, 40, axis=2), truth)


def make_runs(folder: Path, runs: int, slices: int, side: int) -> None:
    """Run directories of four configurations, with labels, components, learning curves and the truth beside them.

    Labels, components and scores are made VARIANTS times and shared by many runs.
    """
    image, truth = make_phantom((slices, side, side), seed=0)
    places = [(0, z) for z in range(slices)]
    where = folder / "truth" / "d"
    write_pages(where / "test-images.tif", list(image))
    write_pages(where / "test-labels.tif", list(truth))
    splits = {"test": [{"volume": 0, "slice": z} for z in range(slices)]}
    (where / "truth.json").write_text(json.dumps({"classes": NAMES, "splits": splits}))
    generator = np.random.default_rng(0)
    variants = []
    for number in range(VARIANTS):
        labels = changed(truth, generator, 0.3 + 0.01 * number)
        variants.append((labels, score_slices(places, truth, labels, len(NAMES))))
    for number in range(runs):
        model, filtering = ARMS[number % 4]
        run = RunDirectory(folder / f"{model}-{filtering}-s{number // 4}-{number % 4:08x}")
        labels, score = variants[number % VARIANTS]
        write_pages(run.labels("test"), list(labels))
        scores = {"validation": SplitScore(score.slices[:5], score.components[:5]), "test": score}
        write_components(run, scores, NAMES)
        lines = [f"{epoch},{1 / (epoch + 1):.4f},{1 - 1 / (epoch + 2):.4f}" for epoch in range(100)]
        run.metrics.write_text("\n".join(["epoch,val_loss,val_f1", *lines]) + "\n")
        facts = {"model": model, "filter": filtering, "seed": number // 4, "data": "phantom"}
        write_scores(
            run, facts | {"config_hash": f"{number % 4:08x}", "data_hash": "d"}, NAMES, scores
        )


def opening(page: Path) -> float | None:
    """Seconds of a whole headless Chromium that opens the page and waits for its load event; None without one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    start = perf_counter()
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    taken = perf_counter() - start
    if not re.search(r"<select>.*<option", found.stdout, re.DOTALL):
        raise SystemExit("the page did not open")
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs, compare them in a process of its own, print and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--slices", type=int, default=39)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="where the runs stay, to be used again")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/comparison.json"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "runs").is_dir():
            make_runs(folder / "runs", options.runs, options.slices, options.side)
        line = [
            sys.executable,
            "-m",
            "fibseg.commands.main",
            "compare",
            str(folder / "runs"),
            "--output",
            str(folder / "out"),
        ]
        told = subprocess.run(
            [sys.executable, "-c", SMALL_PARENT, *line], check=True, capture_output=True, text=True
        )
        taken, memory = (float(one) for one in told.stdout.split()[-2:])
        page = folder / "out" / "index.html"
        figures: dict[str, Any] = {
            "what": f"{options.runs} runs of {options.slices} slices of {options.side} x {options.side}",
            "machine": f"{platform.machine()}, {cores()} cores",
            "compare_s": round(taken, 1),
            "memory_mb": round(memory / 1e6),
            "page_mb": round(page.stat().st_size / 1e6, 1),
            "page_opens_s": None if (opened := opening(page)) is None else round(opened, 1),
        }
    print(json.dumps(figures, indent=1))
    options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
