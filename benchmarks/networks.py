"""Both networks on the device at hand: parameters, multiply-adds, patches per second, memory, where a step's time goes.

python -m benchmarks.networks [--size quick] [--device cpu] [--steps 10] [--no-compile] [--json FILE]

A training step is forward with Dice, backward and Adam on one fixed batch of four patches, as a bare loop. "Lightning"
is the same step through the project's module, data module, callbacks and progress bar, epochs in turn with bare ones;
"waiting" is what of it goes to cutting and moving the patches, and to Lightning's loop between two steps. Rows are for
32 bits and bf16 where the device computes with it; the compiled ones are of what precision=auto chooses.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
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

from fibseg.config import compose as configuration
from fibseg.config.schemas import TrainConfig
from fibseg.data.module import StackDataModule
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import choose_device, choose_precision, cores, set_threads, versions
from fibseg.models.kinds import ARCHITECTURES, create_model
from fibseg.phantom.cell import make_phantom
from fibseg.prediction.slices import autocast
from fibseg.training.callbacks import TrainingProgress, make_trainer
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Segmentation
from fibseg.training.tracking import MetricsFile

WEIGHTS = [0.1, 0.7, 1.0, 0.9]
NAMES = ["background", "mitochondrion", "membrane", "er"]


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def recipe(name: str, size: str) -> TrainConfig:
    """The configuration that train.py would make."""
    configuration.register()
    with initialize_config_dir(str(configuration.CONF), version_base="1.3"):
        composed = compose("train", [f"model={name}", f"size={size}", "filter=on"])
    return configuration.train_config(composed)[0]


class Step:
    """One network, one fixed batch of 4 x 3 x size x size."""

    def __init__(self, name: str, size: str, device: torch.device, precision: str, compiled: bool):
        self.config = recipe(name, size)
        self.arguments = configuration.model_arguments(self.config, len(NAMES))
        torch.manual_seed(0)
        self.network = create_model(name, **self.arguments).to(
            device, memory_format=torch.channels_last
        )
        self.device, self.precision = device, precision
        if compiled:
            self.network.compile()
        side = self.config.patches.size
        self.images = torch.rand(4, 3, side, side, device=device)
        self.labels = torch.randint(0, 4, (4, side, side), device=device)
        self.loss = DiceLoss(WEIGHTS, 255, self.config.training.cross_entropy).to(device)
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)

    def train(self) -> list[float]:
        """Seconds of forward with loss, backward, and Adam."""
        times = [now(self.device)]
        with autocast(self.device, self.precision):
            loss = self.loss(self.network(self.images), self.labels)
        times.append(now(self.device))
        self.adam.zero_grad()
        loss.backward()
        times.append(now(self.device))
        self.adam.step()
        times.append(now(self.device))
        return [after - before for before, after in pairwise(times)]

    def infer(self) -> float:
        """Seconds of a forward pass of 16 patches."""
        images = self.images.repeat(4, 1, 1, 1)
        start = now(self.device)
        with torch.inference_mode(), autocast(self.device, self.precision):
            self.network(images)
        return now(self.device) - start


def memory_of(device: torch.device) -> float:
    """Peak GiB of this process so far: of the GPU, or of the host with all that Python imports."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock(Callback):
    """Mean seconds of a training step, epoch by epoch, and what of it was waiting for the batch."""

    def __init__(self, device: torch.device):
        self.device, self.steps, self.waits = device, [], []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = self.ready = now(self.device)
        self.waited, self.count = 0.0, 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.waited += perf_counter() - self.ready
        self.count += 1

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.ready = perf_counter()
        if trainer.is_last_batch:
            self.steps.append((now(self.device) - self.start) / self.count)
            self.waits.append(self.waited / self.count)


def through_lightning(step: Step, steps: int, folder: Path) -> dict[str, float]:
    """The same network through the project's module, data module and callbacks, epochs in turn with bare steps."""
    side, bare = step.config.patches.size, []
    images, labels = make_phantom((2, 2 * side, 2 * side), 0)
    slices = [
        AnnotatedSlice(0, z, image, label)
        for z, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    data = StackDataModule(
        slices,
        slices,
        (0, 255),
        [650, 3200],
        "slice",
        side,
        0.8,
        batch_size=4,
        batches=steps,
        validation_batches=1,
        validation_seed=0,
        fresh_validation=False,
        seed=0,
    )
    clock = Clock(step.device)
    module = Segmentation(
        step.network, NAMES, WEIGHTS, 1e-3, (0.9, 0.999), 1e-7, "constant", 0.0, 0
    )

    class Bare(Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            bare.append(sum(sum(step.train()) for _ in range(steps)) / steps)

    terminal = TrainingProgress(Console(force_terminal=True, file=io.StringIO()))
    shown = [MetricsFile(folder / "metrics.csv"), terminal, Bare(), clock]
    make_trainer(4, step.device, step.precision, shown).fit(module, data)
    return {
        "lightning_step_s": median(clock.steps[1:]),
        "lightning_over_bare": median(
            a / b for a, b in zip(clock.steps[1:], bare[1:], strict=True)
        ),
        "waiting_for_a_batch_s": median(clock.waits[1:]),
    }


def measure(
    name: str, size: str, device_name: str, precision: str, steps: int, compiled: bool
) -> dict[str, Any]:
    """One row, in a process of its own so that its peak memory is its own."""
    device, threads = choose_device(device_name), set_threads(None)
    step = Step(name, size, device, precision, compiled)
    step.train(), step.train()
    forward, backward, adam = (
        median(part) for part in zip(*(step.train() for _ in range(steps)), strict=True)
    )
    row: dict[str, Any] = {
        "network": name,
        "size": size,
        "side": step.config.patches.size,
        "compiled": compiled,
        "precision": precision,
        "threads": threads,
        "parameters": sum(p.numel() for p in step.network.parameters()),
        "training_patches_per_second": 4 / (forward + backward + adam),
        "forward_s": forward,
        "backward_s": backward,
        "optimizer_s": adam,
        "peak_gib_training": memory_of(device),
    }
    if not compiled:
        with TemporaryDirectory() as folder:
            row |= through_lightning(step, steps, Path(folder))
        step.network.to(
            device, memory_format=torch.channels_last
        )  # Lightning leaves it on the host
    step.network.eval()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step.infer()
    row["inference_patches_per_second"] = 16 / median(step.infer() for _ in range(steps))
    if device.type == "cuda":
        row["peak_gib_inference"] = memory_of(device)
    if not compiled:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            step.network(step.images[:1])
        row["multiply_adds_per_patch"] = counter.get_total_flops() // 2
    return row


def device_name(device: torch.device) -> str:
    """For people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{models[0] if models else 'CPU'}, {cores()} cores"


def show(rows: list[dict[str, Any]], device: str) -> None:
    """The table."""
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
        macs, lightning = row.get("multiply_adds_per_patch"), row.get("lightning_over_bare")
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
    context, rows = multiprocessing.get_context("spawn"), []
    best = choose_precision("auto", choose_device(options.device), depthwise=False)
    for name in ("unet", "eunet"):
        auto = choose_precision(
            "auto", choose_device(options.device), ARCHITECTURES[name].depthwise
        )
        ways = [(precision, False) for precision in dict.fromkeys(("32", best))]
        for way in ways if options.no_compile else [*ways, (auto, True)]:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                given = (name, options.size, options.device, way[0], options.steps, way[1])
                rows.append(pool.submit(measure, *given).result())
    device = device_name(choose_device(options.device))
    show(rows, device)
    if options.json:
        figures = {"device": device, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
