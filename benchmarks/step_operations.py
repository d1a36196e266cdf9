"""What a training step asks of the device beside its network.

python -m benchmarks.step_operations --output benchmarks/step_operations.json

Operations that compute or copy are counted, and not those that give another view of a tensor: on a
GPU each of them is a kernel to launch. Times are the least of many on one core of a CPU, for 4
patches of 256 x 256 pixels with two filter channels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.steps import NAMES, WEIGHTS
from fibseg.arrays import IGNORE
from fibseg.data.augmentation import augmentation_generators, augmented
from fibseg.data.patches import Batch, SlicePixels
from fibseg.data.sampling import Augmentation, PatchSampler
from fibseg.files import write_whole
from fibseg.machine import set_threads
from fibseg.phantom.cell import make_phantom
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation

REPEATS = 200
SIDE = 256


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that compute or copy."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class Fixed(torch.nn.Module):
    """A network that costs nothing: the same logits for every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.rand(4, len(NAMES), SIDE, SIDE))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def measured(part: Callable[[], object]) -> dict[str, float]:
    """Count the operations of a part, and time it."""
    part()
    with Counted() as counted:
        part()
    least = float("inf")
    for _ in range(REPEATS):
        start = perf_counter()
        part()
        least = min(least, perf_counter() - start)
    return {"operations": counted.count, "ms": round(1e3 * least, 3)}


def main() -> None:
    """Measure each part of a step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(1)
    images, labels = make_phantom((2, 3 * SIDE, 4 * SIDE), 0)
    channels = [np.stack([image] * 3) for image in images]
    pixels = SlicePixels(channels, list(labels), torch.device("cpu"))
    sampler = PatchSampler(list(labels), SIDE, 0.8)
    places = pixels.places(sampler.draw(4, (0,), augment=True), SIDE)
    module = Segmentation(
        network=Fixed(),
        class_names=NAMES,
        loss=DiceLoss(WEIGHTS, IGNORE),
        optimisation=Optimisation(1e-3, (0.9, 0.999), 1e-7, "constant"),
        seed=0,
    )

    def floats(batch: Batch) -> Batch:
        return batch._replace(images=batch.images.float().mul_(1 / 255))

    cut = pixels.cut(places, SIDE)
    batch = floats(cut)
    conf = Path(__file__).parent.parent / "conf" / "augmentation" / "standard.yaml"
    standard = Augmentation(**yaml.safe_load(conf.read_text()))
    generators = augmentation_generators(torch.device("cpu"), 0, 0)
    loss = module.loss
    parts: dict[str, Callable[[], object]] = {
        "an epoch's places, for 100 steps": lambda: pixels.places(
            sampler.draw(400, (0,), augment=True), SIDE
        ),
        "cut, turn and mirror": lambda: pixels.cut(places, SIDE),
        "grey values as floats": lambda: floats(cut),
        "standard augmentation": lambda: augmented(batch, standard, generators),
        "loss": lambda: loss(module(batch.images), batch.labels),
        "loss and figures of the step": lambda: module.training_step(batch, 0),
    }
    rows = {name: measured(part) for name, part in parts.items()}
    table = Table("part", "operations", "ms", title="beside the network, 4 patches of 256 x 256")
    for name, row in rows.items():
        table.add_row(name, str(row["operations"]), f"{row['ms']:.3f}")
    Console().print(table)
    if options.output is not None:
        write_whole(options.output, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
