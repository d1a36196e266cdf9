"""What all peers share: slices in files, seconds of CPU time, and what is reported of a training.

A folder of slices holds `train`, `validation` and `test`, each with `images` (8-bit PNG) and
`labels` (PNG of class indices, background 0), of the same names.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.io import imread

SPLITS = ("train", "validation", "test")
SCORED = SPLITS[1:]
Slices = list[tuple[str, np.ndarray, np.ndarray]]
"""Name, image (H, W) uint8 and class indices (H, W) uint8 of each slice."""


@dataclass(frozen=True)
class Job:
    """What a program is asked to do.

    Attributes:
        slices: folder of the slices of the three splits.
        classes: names of the classes, background first.
        work: folder that the program may use.
        output: folder that takes `labels/NAME.png` and, last, `facts.json`.
        seed: of the training.
        seconds: of CPU time that the training may take.
        options: what is left of the command line.
    """

    slices: Path
    classes: list[str]
    work: Path
    output: Path
    seed: int
    seconds: float
    options: argparse.Namespace

    def load(self, split: str) -> Slices:
        """Read the slices of a split."""
        folder = self.slices / split
        return [
            (path.stem, imread(path), imread(folder / "labels" / path.name))
            for path in sorted((folder / "images").glob("*.png"))
        ]

    def images(self, split: str) -> list[Path]:
        """Paths of the images of a split."""
        return sorted((self.slices / split / "images").glob("*.png"))

    def share_spent(self) -> float:
        """Share of the CPU seconds that this process has taken since its start."""
        return time.process_time() / self.seconds

    def report(self, iterations: int, parameters: int, **more: Any) -> dict[str, Any]:
        """What is known when the training ends: to be called right then."""
        return {
            "seed": self.seed,
            "budget_s": self.seconds,
            "cpu_s": round(time.process_time(), 1),
            "iterations": iterations,
            "parameters": parameters,
            # Linux counts in KiB.
            "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            **more,
        }

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the facts, which say that all labels are there."""
        partial = self.output / "facts.partial"
        partial.write_text(json.dumps(facts, indent=1) + "\n")
        partial.replace(self.output / "facts.json")


def parse_job(parser: argparse.ArgumentParser) -> Job:
    """Read the command line, seed every generator, and take one thread."""
    parser.add_argument("--slices", type=Path, required=True)
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(options.seed)
    # Several of the peers draw from the global generator.
    np.random.seed(options.seed)  # noqa: NPY002
    torch.manual_seed(options.seed)
    (options.output / "labels").mkdir(parents=True, exist_ok=True)
    return Job(
        slices=options.slices,
        classes=options.classes,
        work=options.work,
        output=options.output,
        seed=options.seed,
        seconds=options.seconds,
        options=options,
    )
