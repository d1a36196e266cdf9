"""A training step of a network: as a bare loop, and through Lightning with a clock beside it."""

from __future__ import annotations

import io
import resource
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, Trainer
from rich.console import Console

from fibseg.arrays import IGNORE
from fibseg.config import compose as configuration
from fibseg.config.derived import model_arguments
from fibseg.config.schemas import TrainConfig
from fibseg.data.grey import GreyRange
from fibseg.data.module import PatchPlan, StackDataModule
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.channels import Channels
from fibseg.machine import Compute
from fibseg.models.kinds import create_model
from fibseg.phantom.cell import make_phantom
from fibseg.prediction.slices import autocast
from fibseg.training.callbacks import make_trainer
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation
from fibseg.training.progress import TrainingProgress
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
        network = create_model(name, **self.arguments).to(self.device)
        self.network = network.to(memory_format=torch.channels_last)
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
