"""How long it takes to compare 120 runs, how much memory, and how soon their page opens.

python -m benchmarks.comparison [--runs 120] [--slices 39] [--side 1024] [--output FILE]

The runs are made up: the labels of a phantom are the truth, and each run has the same labels with
some blobs changed.
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
from scipy import ndimage

from fibseg.arrays import Place, UInt8
from fibseg.machine import cores
from fibseg.phantom.cell import make_phantom
from fibseg.runs.components import write_components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import write_scores
from fibseg.scores.slices import SplitScore, score_slices
from fibseg.stack import write_pages

CLASS_NAMES = ["background", "mitochondrion", "membrane", "er"]
CONFIGURATIONS = [("unet", "off"), ("unet", "on"), ("eunet", "off"), ("eunet", "on")]
VARIANTS = 6
SMALL_PARENT = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Prints seconds and peak bytes of a command.

The peak of a child begins at the size of its parent, so that the parent is a small one.
"""


def with_changed_blobs(truth: UInt8, generator: np.random.Generator, share: float) -> UInt8:
    """Labels (S, H, W) with a share of their pixels, in blobs, replaced by shifted ones."""
    coarse = generator.random((len(truth), truth.shape[1] // 16 + 1, truth.shape[2] // 16 + 1))
    field = np.stack(
        [ndimage.zoom(page, 16, order=1)[: truth.shape[1], : truth.shape[2]] for page in coarse]
    )
    return np.where(field < share, np.roll(truth, 40, axis=2), truth)


def make_runs(folder: Path, runs: int, slices: int, side: int) -> None:
    """Make run directories of four configurations, with the truth beside them.

    Labels, components and scores are made VARIANTS times and shared by many runs.
    """
    image, truth = make_phantom((slices, side, side), seed=0)
    write_truth_folder(folder / "truth" / "d", image, truth)
    places = [Place(0, z) for z in range(slices)]
    generator = np.random.default_rng(0)
    variants = []
    for number in range(VARIANTS):
        labels = with_changed_blobs(truth, generator, 0.3 + 0.01 * number)
        variants.append((labels, score_slices(places, truth, labels, len(CLASS_NAMES))))
    for number in range(runs):
        labels, score = variants[number % VARIANTS]
        make_run(folder, number, labels, score)


def write_truth_folder(folder: Path, image: UInt8, truth: UInt8) -> None:
    """Write images and labels (S, H, W) of the test slices, as a run leaves them."""
    write_pages(folder / "test-images.tif", list(image))
    write_pages(folder / "test-labels.tif", list(truth))
    splits = {"test": [{"volume": 0, "slice": z} for z in range(len(truth))]}
    (folder / "truth.json").write_text(json.dumps({"classes": CLASS_NAMES, "splits": splits}))


def make_run(folder: Path, number: int, labels: UInt8, score: SplitScore) -> None:
    """Make one run directory with labels, components, learning curves and scores."""
    model, filtering = CONFIGURATIONS[number % len(CONFIGURATIONS)]
    seed = number // len(CONFIGURATIONS)
    config_hash = f"{number % len(CONFIGURATIONS):08x}"
    run = RunDirectory(folder / f"{model}-{filtering}-s{seed}-{config_hash}")
    write_pages(run.labels("test"), list(labels))
    scores = {"validation": SplitScore(score.slices[:5], score.components[:5]), "test": score}
    write_components(run, scores, CLASS_NAMES)
    rows = [f"{epoch},{1 / (epoch + 1):.4f},{1 - 1 / (epoch + 2):.4f}" for epoch in range(100)]
    run.metrics.write_text("\n".join(["epoch,val_loss,val_f1", *rows]) + "\n")
    facts = {
        "model": model,
        "filter": filtering,
        "seed": seed,
        "data": "phantom",
        "config_hash": config_hash,
        "data_hash": "d",
    }
    write_scores(run, facts, CLASS_NAMES, scores)


def seconds_to_open(page: Path) -> float | None:
    """Seconds of a headless Chromium, start and end included, that loads the page.

    None without a Chromium.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    start = perf_counter()
    finished = subprocess.run(line, capture_output=True, text=True, check=True)
    seconds = perf_counter() - start
    if not re.search(r"<select>.*<option", finished.stdout, re.DOTALL):
        raise SystemExit("the page did not open")
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs, compare them in a process of its own, print and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--slices", type=int, default=39)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="where the runs stay, to be used again")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/comparison.json"))
    options = parser.parse_args(arguments)
    side = options.side
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "runs").is_dir():
            make_runs(folder / "runs", options.runs, options.slices, side)
        line = [
            sys.executable,
            "-m",
            "fibseg.commands.main",
            "compare",
            str(folder / "runs"),
            "--output",
            str(folder / "out"),
        ]
        finished = subprocess.run(
            [sys.executable, "-c", SMALL_PARENT, *line], check=True, capture_output=True, text=True
        )
        seconds, memory = (float(text) for text in finished.stdout.split()[-2:])
        page = folder / "out" / "index.html"
        opened = seconds_to_open(page)
        figures: dict[str, Any] = {
            "what": f"{options.runs} runs of {options.slices} slices of {side} x {side}",
            "machine": f"{platform.machine()}, {cores()} cores",
            "compare_s": round(seconds, 1),
            "memory_mb": round(memory / 1e6),
            "page_mb": round(page.stat().st_size / 1e6, 1),
            "page_opens_s": None if opened is None else round(opened, 1),
        }
    print(json.dumps(figures, indent=1))
    options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
