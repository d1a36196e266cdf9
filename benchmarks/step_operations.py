"""What a training step asks of the device beside its network.

python -m benchmarks.step_operations --output benchmarks/step_operations.json

Operations that compute or copy are counted, and not those that give another view of a tensor: on a
GPU each of them is a kernel to launch. Times are the least of many on one core of a CPU, for 4
patches with two filter channels: of 256 x 256 pixels, and of 16 x 16, where little is left but what
Python costs.
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
SIDES = (256, 16)


COPIES = ("aten::_to_copy", "aten::copy_", "aten::clone")
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")
"""Operations whose result the host must have before it goes on."""


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that compute or copy, those of them that copy, and waits of the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = {"operations": 0, "copies": 0, "waits": 0}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts["operations"] += not func.is_view
        self.counts["copies"] += func.name().split(".")[0] in COPIES
        self.counts["waits"] += func.name().split(".")[0] in WAITS
        return func(*args, **(kwargs or {}))


class Fixed(torch.nn.Module):
    """A network that costs nothing: the same logits for every batch."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.rand(4, len(NAMES), side, side))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def operations(part: Callable[[], object]) -> dict[str, int]:
    """Count the operations of a part, once it has begun."""
    part()
    with Counted() as counted:
        part()
    counts: dict[str, int] = counted.counts
    return counts


def milliseconds(part: Callable[[], object]) -> float:
    """Time a part: the least of many calls."""
    part()
    least = float("inf")
    for _ in range(REPEATS):
        start = perf_counter()
        part()
        least = min(least, perf_counter() - start)
    return round(1e3 * least, 3)


def parts_of_a_step(side: int) -> dict[str, Callable[[], object]]:
    """Give what is done for 4 patches, `side` pixels long, beside the network."""
    images, labels = make_phantom((2, 768, 1024), 0)
    channels = [np.stack([image] * 3) for image in images]
    pixels = SlicePixels(channels, list(labels), torch.device("cpu"))
    sampler = PatchSampler(list(labels), side, 0.8)
    places = pixels.places(sampler.draw(4, (0,), augment=True), side)
    module = Segmentation(
        network=Fixed(side),
        class_names=NAMES,
        loss=DiceLoss(WEIGHTS, IGNORE),
        optimisation=Optimisation(1e-3, (0.9, 0.999), 1e-7, "constant"),
        seed=0,
    )

    def floats(batch: Batch) -> Batch:
        return batch._replace(images=batch.images.float().mul_(1 / 255))

    cut = pixels.cut(places, side)
    batch = floats(cut)
    conf = Path(__file__).parent.parent / "conf" / "augmentation" / "standard.yaml"
    standard = Augmentation(**yaml.safe_load(conf.read_text()))
    generators = augmentation_generators(torch.device("cpu"), 0, 0)
    loss = module.loss
    return {
        "an epoch's places, for 100 steps": lambda: pixels.places(
            sampler.draw(400, (0,), augment=True), side
        ),
        "cut, turn and mirror": lambda: pixels.cut(places, side),
        "grey values as floats": lambda: floats(cut),
        "standard augmentation": lambda: augmented(batch, standard, generators),
        "loss": lambda: loss(module(batch.images), batch.labels),
        "loss and figures of the step": lambda: module.training_step(batch, 0),
    }


def main() -> None:
    """Measure each part of a step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_threads(1)
    rows: dict[str, dict[str, float]] = {}
    for side in SIDES:
        for name, part in parts_of_a_step(side).items():
            row = rows.setdefault(name, {**operations(part)})
            row[f"ms_{side}"] = milliseconds(part)
    columns = [f"ms, {side} x {side}" for side in SIDES]
    table = Table(
        "part", "operations", "copies", "waits", *columns, title="4 patches, beside the network"
    )
    for name, row in rows.items():
        table.add_row(name, *map(str, row.values()))
    Console().print(table)
    if options.output is not None:
        write_whole(options.output, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
