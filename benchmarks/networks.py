"""Both networks on the device at hand: size, patches per second, memory, parts of a step.

python -m benchmarks.networks [--size quick] [--device cpu] [--steps 10] [--no-compile]
                              [--json FILE]

A training step is forward with Dice, backward and Adam on one fixed batch of four patches, as a
bare loop. "Lightning" is the same step through the project's module, data module, callbacks and
progress bar, epochs in turn with bare ones; "waiting" is the part of it that goes to cutting and
moving the patches, and to Lightning's loop between two steps. Rows are for 32 bits and bf16 where
the device computes with it; the compiled ones are of what precision=auto chooses.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from fibseg.arrays import IGNORE
from fibseg.config import compose as configuration
from fibseg.config.derived import model_arguments
from fibseg.config.schemas import TrainConfig
from fibseg.data.grey import GreyRange
from fibseg.data.module import PatchPlan, StackDataModule
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.channels import Channels
from fibseg.machine import Compute, choose_device, choose_precision, cores, set_threads, versions
from fibseg.models.kinds import KINDS, create_model
from fibseg.phantom.cell import make_phantom
from fibseg.prediction.slices import autocast
from fibseg.training.callbacks import TrainingProgress, make_trainer
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation
from fibseg.training.tracking import MetricsFile

WEIGHTS = [0.1, 0.7, 1.0, 0.9]
NAMES = ["background", "mitochondrion", "membrane", "er"]


def now(device: torch.device) -> float:
    """Read the clock once the device has finished its work, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def recipe(name: str, size: str) -> TrainConfig:
    """Compose the configuration as train.py does."""
    configuration.register()
    with initialize_config_dir(str(configuration.CONF), version_base="1.3"):
        composed = compose("train", [f"model={name}", f"size={size}", "filter=on"])
    return configuration.train_config(composed)[0]


class Step:
    """One network and one fixed batch (4, 3, side, side)."""

    def __init__(self, name: str, size: str, compute: Compute, compiled: bool):
        """Make the network of a recipe, its batch and its optimizer, on the device."""
        self.config = recipe(name, size)
        self.arguments = model_arguments(self.config)
        self.compute = compute
        self.device = compute.device
        torch.manual_seed(0)
        network = create_model(name, **self.arguments)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        if compiled:
            self.network.compile()
        side = self.config.patches.size
        self.images = torch.rand(4, 3, side, side, device=self.device)
        self.labels = torch.randint(0, 4, (4, side, side), device=self.device)
        loss = DiceLoss(WEIGHTS, IGNORE, self.config.training.cross_entropy)
        self.loss = loss.to(self.device)
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)

    def train(self) -> list[float]:
        """Take a training step; gives the seconds of forward with loss, backward, and Adam."""
        times = [now(self.device)]
        with autocast(self.compute):
            loss = self.loss(self.network(self.images), self.labels)
        times.append(now(self.device))
        self.adam.zero_grad()
        loss.backward()
        times.append(now(self.device))
        self.adam.step()
        times.append(now(self.device))
        return [after - before for before, after in pairwise(times)]

    def infer(self) -> float:
        """Label 16 patches; gives the seconds."""
        images = self.images.repeat(4, 1, 1, 1)
        start = now(self.device)
        with torch.inference_mode(), autocast(self.compute):
            self.network(images)
        return now(self.device) - start


def memory_of(device: torch.device) -> float:
    """Peak GiB of this process: of the GPU, or of the host, with all that Python imports."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock(Callback):
    """Measures mean seconds of a training step by epoch, and the part that waits for the batch."""

    def __init__(self, device: torch.device):
        self.device = device
        self.steps: list[float] = []
        self.waits: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = now(self.device)
        self.ready = self.start
        self.waited = 0.0
        self.count = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.waited += perf_counter() - self.ready
        self.count += 1

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.ready = perf_counter()
        if trainer.is_last_batch:
            self.steps.append((now(self.device) - self.start) / self.count)
            self.waits.append(self.waited / self.count)


class Bare(Callback):
    """Takes as many bare steps after each epoch of Lightning's, and keeps their mean seconds."""

    def __init__(self, step: Step, count: int):
        self.step = step
        self.count = count
        self.seconds: list[float] = []

    def on_train_epoch_end(self, *_: Any) -> None:
        total = sum(sum(self.step.train()) for _ in range(self.count))
        self.seconds.append(total / self.count)


def phantom_data(side: int, steps: int) -> StackDataModule:
    """Patches of two phantom slices, filtered by the paper's areas."""
    images, labels = make_phantom((2, 2 * side, 2 * side), 0)
    slices = [AnnotatedSlice(0, z, images[z], labels[z]) for z in range(len(images))]
    plan = PatchPlan(
        size=side,
        class_share=0.8,
        batch_size=4,
        batches=steps,
        validation_batches=1,
        seed=0,
        validation_seed=0,
        fresh_validation=False,
    )
    return StackDataModule(
        slices={"train": slices, "validation": slices},
        grey_range=GreyRange(0, 255),
        channels=Channels((650, 3200)),
        plan=plan,
    )


def through_lightning(step: Step, steps: int, folder: Path) -> dict[str, float]:
    """Train the same network by the project's module, epochs in turn with bare steps."""
    clock = Clock(step.device)
    bare = Bare(step, steps)
    module = Segmentation(
        network=step.network,
        class_names=NAMES,
        loss=DiceLoss(WEIGHTS, IGNORE),
        optimisation=Optimisation(
            learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-7, schedule="constant"
        ),
        seed=0,
    )
    bar = TrainingProgress(Console(force_terminal=True, file=io.StringIO()))
    callbacks = [MetricsFile(folder / "metrics.csv"), bar, bare, clock]
    trainer = make_trainer(4, step.device, step.compute.precision, callbacks)
    trainer.fit(module, phantom_data(step.config.patches.size, steps))
    # The first epoch warms up.
    ratios = [
        lightning / bare_seconds
        for lightning, bare_seconds in zip(clock.steps[1:], bare.seconds[1:], strict=True)
    ]
    return {
        "lightning_step_s": median(clock.steps[1:]),
        "lightning_over_bare": median(ratios),
        "waiting_for_a_batch_s": median(clock.waits[1:]),
    }


@dataclass(frozen=True)
class Case:
    """A row of the table: network, size of the recipe, device, precision, compiled or not."""

    network: str
    size: str
    device: str
    precision: str
    compiled: bool


def measure(case: Case, steps: int) -> dict[str, Any]:
    """Measure one row, in a process of its own so that its peak memory is its own."""
    device = choose_device(case.device)
    compute = Compute(device=device, precision=case.precision, batch_size=16, processes=1)
    threads = set_threads(None)
    step = Step(case.network, case.size, compute, case.compiled)
    for _ in range(2):
        step.train()
    forward, backward, adam = (
        median(part) for part in zip(*(step.train() for _ in range(steps)), strict=True)
    )
    row: dict[str, Any] = {
        "network": case.network,
        "size": case.size,
        "side": step.config.patches.size,
        "compiled": case.compiled,
        "precision": case.precision,
        "threads": threads,
        "parameters": sum(weights.numel() for weights in step.network.parameters()),
        "training_patches_per_second": 4 / (forward + backward + adam),
        "forward_s": forward,
        "backward_s": backward,
        "optimizer_s": adam,
        "peak_gib_training": memory_of(device),
    }
    if not case.compiled:
        with TemporaryDirectory() as folder:
            row |= through_lightning(step, steps, Path(folder))
        # Lightning leaves the network on the host.
        step.network.to(device, memory_format=torch.channels_last)
    step.network.eval()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step.infer()
    row["inference_patches_per_second"] = 16 / median(step.infer() for _ in range(steps))
    if device.type == "cuda":
        row["peak_gib_inference"] = memory_of(device)
    if not case.compiled:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            step.network(step.images[:1])
        row["multiply_adds_per_patch"] = counter.get_total_flops() // 2
    return row


def device_name(device: torch.device) -> str:
    """Name the device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{models[0] if models else 'CPU'}, {cores()} cores"


def show(rows: list[dict[str, Any]], device: str) -> None:
    """Print the table."""
    columns = (
        "network",
        "side",
        "bits",
        "compiled",
        "parameters",
        "GMAC a patch",
        "training patches/s",
        "inference patches/s",
        "forward / backward / Adam, ms",
        "waiting, ms",
        "Lightning / bare",
        "peak GiB",
    )
    table = Table(*columns, title=device)
    for row in rows:
        macs = row.get("multiply_adds_per_patch")
        lightning = row.get("lightning_over_bare")
        parts = " / ".join(
            f"{1000 * row[part]:.1f}" for part in ("forward_s", "backward_s", "optimizer_s")
        )
        table.add_row(
            row["network"],
            str(row["side"]),
            row["precision"],
            str(row["compiled"]),
            f"{row['parameters']:,}",
            f"{macs / 1e9:.2f}" if macs else "",
            f"{row['training_patches_per_second']:.2f}",
            f"{row['inference_patches_per_second']:.2f}",
            parts,
            f"{1000 * row['waiting_for_a_batch_s']:.1f}" if lightning else "",
            f"{lightning:.3f}" if lightning else "",
            f"{row['peak_gib_training']:.2f}",
        )
    Console(width=150).print(table)


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("paper", "quick"), default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    device = choose_device(options.device)
    best = choose_precision("auto", device, depthwise=False)
    rows = []
    for name in ("unet", "eunet"):
        auto = choose_precision("auto", device, KINDS[name].depthwise)
        ways = [(precision, False) for precision in dict.fromkeys(("32", best))]
        for precision, compiled in ways if options.no_compile else [*ways, (auto, True)]:
            case = Case(name, options.size, options.device, precision=precision, compiled=compiled)
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                rows.append(pool.submit(measure, case, options.steps).result())
    name_of_device = device_name(device)
    show(rows, name_of_device)
    if options.json:
        figures = {"device": name_of_device, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
