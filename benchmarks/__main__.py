"""`make bench`: the project's steps beside a peer in the same run, as a table and a JSON of figures.

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
from collections.abc import Callable
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

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.module import StackDataModule
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import filter_slices
from fibseg.machine import cores
from fibseg.models.kinds import create_model
from fibseg.phantom.cell import make_phantom
from fibseg.stack import open_stack
from fibseg.training.callbacks import TrainingProgress
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Segmentation

PROJECT = Path(__file__).resolve().parents[1]
AREAS = [650, 3200]
QUICK: dict[str, Any] = {
    "classes": 4,
    "width": 16,
    "dropout": 0.5,
    "norm_momentum": 0.1,
    "norm_eps": 1e-3,
}
QUICK |= {"block_order": "relu_norm"}


def seconds(step: Callable[[], object], times: int) -> float:
    """Median of `times` after one that does not count."""
    step()
    found = []
    for _ in range(times):
        start = perf_counter()
        step()
        found.append(perf_counter() - start)
    return median(found)


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
    equal = bool((np.abs(grain_filter(image, AREAS) - higra_per_area(image)) < 1).all())
    ours, peer = (
        seconds(lambda: grain_filter(image, AREAS), 5),
        seconds(lambda: higra_per_area(image), 1),
    )
    name = f"grain channels, {image.shape[0]} x {image.shape[1]}, two areas"
    return {
        "what": name,
        "peer": "Higra, a tree per area",
        "ours_s": ours,
        "peer_s": peer,
        "equal": equal,
    }


def scaling_row(image: np.ndarray) -> dict[str, Any]:
    """24 slices per core, over every core: how much of one process's speed each core adds. Starting them counts."""
    many = [np.ascontiguousarray(image[:, k:]) for k in range(24 * cores())]
    ours = seconds(lambda: filter_slices(many, AREAS, None, cores()), 1)
    peer = seconds(lambda: filter_slices(many, AREAS, None, 1), 1)
    name = f"grain channels of {len(many)} slices, {cores()} processes"
    return {
        "what": name,
        "peer": "one process",
        "ours_s": ours,
        "peer_s": peer,
        "per_core": peer / ours / cores(),
    }


def reading_row(image: np.ndarray, folder: Path) -> dict[str, Any]:
    """Every slice of a compressed BigTIFF of 200, in order, against tifffile's own imread(key=z)."""
    path = folder / "stack.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for k in range(200):
            file.write(
                image[:512, :512] + np.uint8(k), compression="zlib", contiguous=False, metadata=None
            )
    ours = seconds(lambda: [one.shape for one in open_stack(path)], 3)
    peer = seconds(lambda: [tifffile.imread(path, key=z).shape for z in range(200)], 3)
    return {
        "what": "reading 200 slices of a BigTIFF",
        "peer": "tifffile.imread(key=z)",
        "ours_s": ours,
        "peer_s": peer,
    }


def help_rows() -> list[dict[str, Any]]:
    """Whole processes: how long a person waits for help, beside Python's import of torch."""
    programs = {
        "fibseg --help": ["-m", "fibseg.commands.main"],
        "train.py --help": [str(PROJECT / "train.py")],
    }
    peer = seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True), 2)
    rows = []
    for name, line in programs.items():
        command = [sys.executable, *line, "--help"]
        ours = seconds(
            lambda command=command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
            3,
        )
        rows.append({"what": name, "peer": "import torch", "ours_s": ours, "peer_s": peer})
    return rows


def data(slices: list[AnnotatedSlice], size: int, channels: int) -> StackDataModule:
    """Batches of four patches, without filtering: the slice stands for its filtered versions."""
    module = StackDataModule(
        slices,
        slices,
        GreyRange(0, 255),
        [],
        "slice",
        size,
        0.8,
        batch_size=4,
        batches=40,
        validation_batches=1,
        validation_seed=0,
        fresh_validation=False,
        seed=0,
    )
    module.setup("fit")
    images, labels = module._on_device["train"]
    module._on_device["train"] = [image.expand(channels, -1, -1) for image in images], labels
    return module


def batch_row(slices: list[AnnotatedSlice]) -> dict[str, Any]:
    """A batch of 4 x 3 x 256 x 256."""
    batches = iter([])
    loader = data(slices, 256, 3).train_dataloader()

    def step() -> object:
        nonlocal batches
        try:
            return next(batches)
        except StopIteration:
            batches = iter(loader)
            return next(batches)

    return {
        "what": "a batch of 4 x 3 x 256 x 256",
        "peer": "",
        "ours_s": seconds(step, 30),
        "peer_s": None,
    }


def step_row(slices: list[AnnotatedSlice]) -> dict[str, Any]:
    """A training step of the quick recipe through Lightning, with the progress bar, against a bare loop."""
    module = data(slices, 128, 1)
    batch = next(iter(module.train_dataloader()))
    network = create_model("unet", channels=1, **QUICK).to(memory_format=torch.channels_last)
    loss, optimizer = (
        DiceLoss([0.1, 0.7, 1.0, 0.9], 255, 1.0),
        torch.optim.Adam(network.parameters(), 1e-3, fused=True),
    )

    def step() -> None:
        optimizer.zero_grad()
        loss(network(batch.images), batch.labels).backward()
        optimizer.step()

    def epoch() -> None:
        segmenter = Segmentation(
            network,
            ["background", "a", "b", "c"],
            [0.1, 0.7, 1.0, 0.9],
            1e-3,
            (0.9, 0.999),
            1e-7,
            "constant",
            1.0,
            0,
        )
        Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            callbacks=[TrainingProgress(Console(force_terminal=True, stderr=True))],
        ).fit(segmenter, module)

    pairs = [(seconds(epoch, 1) / 40, seconds(step, 40)) for _ in range(3)]
    ours, peer = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    return {
        "what": "a training step, quick recipe, 32 bit",
        "peer": "bare loop",
        "ours_s": ours,
        "peer_s": peer,
    }


def main() -> None:
    """Print the table and write benchmarks/results.json."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a stack of 8-bit slices")
    options = parser.parse_args()
    images, labels = make_phantom((2, 1024, 1024), 0)
    if options.data:
        stack = open_stack(options.data)
        images = np.stack([to_8bit(stack.read(z), GreyRange(0, 255)) for z in range(2)])
        labels = np.resize(labels, images.shape)
    slices = [
        AnnotatedSlice(0, z, image, label)
        for z, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows = [filter_row(images[0]), scaling_row(images[0]), reading_row(images[0], Path(folder))]
    rows += [batch_row(slices), step_row(slices), *help_rows()]
    table = Table(
        "what",
        "ours",
        "peer",
        "peer's time",
        "ours / peer",
        title=f"{torch.get_num_threads()} threads",
    )
    for row in rows:
        peer = f"{row['peer_s'] * 1000:.1f} ms" if row["peer_s"] else ""
        ratio = f"{row['ours_s'] / row['peer_s']:.3f}" if row["peer_s"] else ""
        table.add_row(row["what"], f"{row['ours_s'] * 1000:.1f} ms", row["peer"], peer, ratio)
    Console().print(table)
    device = {
        "machine": platform.machine(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", ""),
        "rows": rows,
    }
    Path(__file__).with_name("results.json").write_text(json.dumps(device, indent=1) + "\n")


if __name__ == "__main__":
    main()
