"""`make bench`: steps of the project beside a peer in the same run, as a table and a JSON file.

python -m benchmarks [--data DIR]   DIR holds a stack of 8-bit slices; without it a phantom is used.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import higra as hg
import numpy as np
import tifffile
import torch
from pytorch_lightning import Trainer
from rich.console import Console
from rich.table import Table

from fibseg.arrays import IGNORE
from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.module import PatchPlan, StackDataModule
from fibseg.data.patches import Batch
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.channels import Channels
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import filter_slices
from fibseg.machine import cores
from fibseg.models import create_model
from fibseg.phantom import make_phantom
from fibseg.stack import open_stack
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation
from fibseg.training.progress import TrainingProgress

PROJECT = Path(__file__).resolve().parents[1]
AREAS = (650, 3200)
CLASSES = ["background", "a", "b", "c"]
WEIGHTS = [0.1, 0.7, 1.0, 0.9]
QUICK: dict[str, Any] = {
    "classes": len(CLASSES),
    "width": 16,
    "dropout": 0.5,
    "norm_momentum": 0.1,
    "norm_eps": 1e-3,
    "block_order": "relu_norm",
}
EPOCH_STEPS = 40
"""Training steps of an epoch."""


def seconds_of(step: Callable[[], object], times: int) -> float:
    """Median of `times` after one that does not count."""
    step()
    durations = []
    for _ in range(times):
        start = perf_counter()
        step()
        durations.append(perf_counter() - start)
    return median(durations)


def higra_per_area(image: np.ndarray) -> np.ndarray:
    """One Higra tree per area, on floats, as the authors of the paper do it."""
    filtered = []
    for area in AREAS:
        tree, altitudes = hg.component_tree_tree_of_shapes_image2d(image.astype(np.float64))
        small = hg.attribute_area(tree) < area
        filtered.append(hg.reconstruct_leaf_data(tree, altitudes, small))
    return np.stack(filtered)


def filter_row(image: np.ndarray) -> dict[str, Any]:
    """Both areas of one slice, and whether the pixels are equal."""
    # Higra works on floats, whose rounding is not ours.
    equal = bool((np.abs(grain_filter(image, AREAS) - higra_per_area(image)) < 1).all())
    return {
        "what": f"grain channels, {image.shape[0]} x {image.shape[1]}, two areas",
        "peer": "Higra, a tree per area",
        "ours_s": seconds_of(lambda: grain_filter(image, AREAS), 5),
        "peer_s": seconds_of(lambda: higra_per_area(image), 1),
        "equal": equal,
    }


def scaling_row(image: np.ndarray) -> dict[str, Any]:
    """24 slices per core, over every core: how much of one thread's speed each core adds."""
    images = [np.ascontiguousarray(image[:, k:]) for k in range(24 * cores())]
    ours = seconds_of(lambda: filter_slices(images, AREAS, None, cores()), 1)
    peer = seconds_of(lambda: filter_slices(images, AREAS, None, 1), 1)
    return {
        "what": f"grain channels of {len(images)} slices, {cores()} threads",
        "peer": "one thread",
        "ours_s": ours,
        "peer_s": peer,
        "per_core": peer / ours / cores(),
    }


def reading_row(image: np.ndarray, folder: Path) -> dict[str, Any]:
    """Every slice of a compressed BigTIFF of 200, in order, against tifffile's imread(key=z)."""
    path = folder / "stack.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for k in range(200):
            pixels = image[:512, :512] + np.uint8(k)
            file.write(pixels, compression="zlib", contiguous=False, metadata=None)
    return {
        "what": "reading 200 slices of a BigTIFF",
        "peer": "tifffile.imread(key=z)",
        "ours_s": seconds_of(lambda: [pixels.shape for pixels in open_stack(path)], 3),
        "peer_s": seconds_of(
            lambda: [tifffile.imread(path, key=z).shape for z in range(200)], times=3
        ),
    }


def help_rows() -> list[dict[str, Any]]:
    """Whole processes: how long a person waits for help, beside Python's import of torch."""

    def seconds_of_process(*line: str) -> float:
        command = [sys.executable, *line]
        return seconds_of(
            lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), times=3
        )

    programs = {
        "fibseg --help": ["-m", "fibseg.commands.main"],
        "train.py --help": [str(PROJECT / "train.py")],
    }
    peer = seconds_of_process("-c", "import torch")
    return [
        {
            "what": what,
            "peer": "import torch",
            "ours_s": seconds_of_process(*line, "--help"),
            "peer_s": peer,
        }
        for what, line in programs.items()
    ]


def patch_data(slices: list[AnnotatedSlice], size: int, channels: Channels) -> StackDataModule:
    """Batches of four patches, whose slices are filtered already."""
    plan = PatchPlan(
        size=size,
        class_share=0.8,
        batch_size=4,
        batches=EPOCH_STEPS,
        validation_batches=1,
        seed=0,
        validation_seed=0,
        fresh_validation=False,
    )
    module = StackDataModule(
        slices={"train": slices, "validation": slices},
        grey_range=GreyRange(0, 255),
        channels=channels,
        plan=plan,
    )
    module.setup("fit")
    return module


def batch_row(slices: list[AnnotatedSlice]) -> dict[str, Any]:
    """A batch of 4 x 3 x 256 x 256."""
    loader = patch_data(slices, 256, Channels(AREAS)).train_dataloader()

    def endless() -> Iterator[Batch]:
        while True:
            yield from loader

    batches = endless()
    return {
        "what": "a batch of 4 x 3 x 256 x 256",
        "peer": "",
        "ours_s": seconds_of(lambda: next(batches), 30),
        "peer_s": None,
    }


def step_row(slices: list[AnnotatedSlice]) -> dict[str, Any]:
    """A step of the quick recipe by Lightning, with the progress bar, against a bare loop."""
    module = patch_data(slices, 128, Channels())
    batch = next(iter(module.train_dataloader()))
    network: Any = create_model("unet", channels=1, **QUICK).to(memory_format=torch.channels_last)
    loss = DiceLoss(WEIGHTS, IGNORE, 1.0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(network(batch.images), batch.labels).backward()
        optimizer.step()

    def epoch() -> None:
        optimisation = Optimisation(
            learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-7, schedule="constant"
        )
        segmentation = Segmentation(
            network=network,
            class_names=CLASSES,
            loss=DiceLoss(WEIGHTS, IGNORE, 1.0),
            optimisation=optimisation,
            seed=0,
        )
        progress = TrainingProgress(Console(force_terminal=True, stderr=True))
        quick_trainer(progress).fit(segmentation, module)

    # The smallest of three: other work on the machine makes a step slower, never faster.
    pairs = [(seconds_of(epoch, 1) / EPOCH_STEPS, seconds_of(step, EPOCH_STEPS)) for _ in range(3)]
    return {
        "what": "a training step, quick recipe, 32 bit",
        "peer": "bare loop",
        "ours_s": min(ours for ours, _ in pairs),
        "peer_s": min(peer for _, peer in pairs),
    }


def quick_trainer(progress: TrainingProgress) -> Trainer:
    """Trains for an epoch, and neither validates nor keeps anything."""
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[progress],
    )


def two_slices(data: str | None) -> list[AnnotatedSlice]:
    """The first slices of a stack, with the labels of a phantom; a phantom without a stack."""
    images, labels = make_phantom((2, 1024, 1024), 0)
    if data is not None:
        stack = open_stack(data)
        images = np.stack([to_8bit(stack.read(z), GreyRange(0, 255)) for z in range(2)])
        labels = np.resize(labels, images.shape)
    return [
        AnnotatedSlice(0, z, image, label)
        for z, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def table_of(rows: list[dict[str, Any]]) -> Table:
    title = f"{torch.get_num_threads()} threads"
    table = Table("what", "ours", "peer", "peer's time", "ours / peer", title=title)
    for row in rows:
        ours = row["ours_s"]
        peer = row["peer_s"]
        table.add_row(
            row["what"],
            f"{ours * 1000:.1f} ms",
            row["peer"],
            f"{peer * 1000:.1f} ms" if peer else "",
            f"{ours / peer:.3f}" if peer else "",
        )
    return table


def main() -> None:
    """Print the table and write benchmarks/results.json."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a stack of 8-bit slices")
    options = parser.parse_args()
    slices = two_slices(options.data)
    image = slices[0].image
    with tempfile.TemporaryDirectory() as folder:
        rows = [filter_row(image), scaling_row(image), reading_row(image, Path(folder))]
    rows += [batch_row(slices), step_row(slices), *help_rows()]
    Console().print(table_of(rows))
    figures = {
        "machine": platform.machine(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", ""),
        "rows": rows,
    }
    path = Path(__file__).with_name("results.json")
    path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
