"""Both networks on the device at hand: parameters, multiply-adds, patches per second, memory, where a step's time goes.

python -m benchmarks.networks [--size quick] [--device cpu] [--steps 10] [--no-compile] [--json FILE]

A training step is forward, Dice, backward and Adam on one fixed batch of four patches, as a bare loop; "Lightning" is
the same step through the project's module, data module and trainer: what it takes beyond the bare loop is cutting,
moving and logging.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from fibseg import config as configuration
from fibseg.datamodule import StackDataModule
from fibseg.dataset import AnnotatedSlice
from fibseg.hardware import choose_device, choose_precision, set_threads, versions
from fibseg.losses import DiceLoss
from fibseg.models import create_model
from fibseg.phantom import make_phantom
from fibseg.prediction import autocast
from fibseg.segmentation import Segmentation

WEIGHTS = [0.1, 0.7, 1.0, 0.9]
NAMES = ["background", "mitochondrion", "membrane", "er"]


def timed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Median seconds of a step, after two that do not count."""
    found = []
    for _ in range(steps + 2):
        start = perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(perf_counter() - start)
    return median(found[2:])


def recipe(name: str, size: str) -> configuration.TrainConfig:
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
        self.network = create_model(name, **self.arguments).to(device, memory_format=torch.channels_last)
        self.device, self.precision = device, precision
        if compiled:
            self.network.compile()
        side = self.config.patches.size
        self.images = torch.rand(4, 3, side, side, device=device)
        self.labels = torch.randint(0, 4, (4, side, side), device=device)
        self.loss = DiceLoss(WEIGHTS, 255, self.config.training.cross_entropy).to(device)
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)

    def forward(self) -> torch.Tensor:
        with autocast(self.device, self.precision):
            return self.loss(self.network(self.images), self.labels)

    def train(self) -> None:
        self.adam.zero_grad()
        self.forward().backward()
        self.adam.step()

    def infer(self) -> None:
        with torch.inference_mode(), autocast(self.device, self.precision):
            self.network(self.images)


def memory_of(device: torch.device) -> float:
    """Peak GiB of this process so far: of the GPU, or of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def lightning_step(step: Step, steps: int) -> float:
    """Seconds of a step through the project's module, data module and trainer, over one epoch after a first one."""
    from pytorch_lightning import Callback, Trainer

    side, epochs = step.config.patches.size, []
    images, labels = make_phantom((2, 2 * side, 2 * side), 0)
    slices = [AnnotatedSlice(0, z, image, label) for z, (image, label) in enumerate(zip(images, labels, strict=True))]
    data = StackDataModule(
        slices, slices, (0, 255), [650, 3200], "slice", side, 0.8, batch_size=4, batches=max(10, steps),
        validation_batches=1, validation_seed=0, fresh_validation=False, seed=0,
    )  # fmt: skip
    module = Segmentation(step.network, NAMES, WEIGHTS, 1e-3, (0.9, 0.999), 1e-7, "constant", 0.0, 0)

    class Clock(Callback):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            self.start = perf_counter()

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.is_last_batch:
                if step.device.type == "cuda":
                    torch.cuda.synchronize(step.device)
                epochs.append(perf_counter() - self.start)

    Trainer(
        max_epochs=2, accelerator="gpu" if step.device.type == "cuda" else "cpu", devices=1, logger=False,
        precision="bf16-mixed" if step.precision == "bf16" else "32-true", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Clock()],
    ).fit(module, data)  # fmt: skip
    return epochs[-1] / max(10, steps)


def measure(name: str, size: str, device_name: str, steps: int, compiled: bool) -> dict[str, Any]:
    """One row, in a process of its own so that its peak memory is its own."""
    device = choose_device(device_name)
    threads, precision = set_threads(None), choose_precision("auto", device)
    step = Step(name, size, device, precision, compiled)
    train = timed(step.train, steps, device)
    forward, adam = timed(step.forward, steps, device), timed(step.adam.step, steps, device)
    row: dict[str, Any] = {
        "network": name, "size": size, "side": step.config.patches.size, "compiled": compiled, "precision": precision,
        "threads": threads, "parameters": sum(p.numel() for p in step.network.parameters()),
        "training_patches_per_second": 4 / train, "forward_s": forward, "optimizer_s": adam,
        "backward_s": train - forward - adam, "step_s": train, "peak_gib_training": memory_of(device),
    }  # fmt: skip
    if not compiled:
        row["lightning_step_s"] = lightning_step(step, steps)
    step.network.eval()
    row["inference_patches_per_second"] = 4 / timed(step.infer, steps, device)
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
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{models[0] if models else 'CPU'}, {len(models)} cores"


def show(rows: list[dict[str, Any]], device: str) -> None:
    """The table."""
    columns = (
        "network", "side", "compiled", "parameters", "GMAC a patch", "training patches/s", "inference patches/s",
        "forward / backward / Adam, ms", "Lightning / bare", "peak GiB",
    )  # fmt: skip
    table = Table(*columns, title=device)
    for row in rows:
        macs, lightning = row.get("multiply_adds_per_patch"), row.get("lightning_step_s")
        parts = " / ".join(f"{1000 * row[part]:.1f}" for part in ("forward_s", "backward_s", "optimizer_s"))
        table.add_row(
            row["network"], str(row["side"]), str(row["compiled"]), f"{row['parameters']:,}",
            f"{macs / 1e9:.2f}" if macs else "", f"{row['training_patches_per_second']:.2f}",
            f"{row['inference_patches_per_second']:.2f}", parts,
            f"{lightning / row['step_s']:.3f}" if lightning else "", f"{row['peak_gib_training']:.2f}",
        )  # fmt: skip
    Console(width=150).print(table)


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("paper", "quick"), default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    context, rows = multiprocessing.get_context("spawn"), []
    for name in ("unet", "eunet"):
        for compiled in (False,) if options.no_compile else (False, True):
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                rows.append(pool.submit(measure, name, options.size, options.device, options.steps, compiled).result())
    device = device_name(choose_device(options.device))
    show(rows, device)
    if options.json:
        figures = {"device": device, "versions": versions(), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
