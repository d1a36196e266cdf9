"""The UNet of segmentation_models_pytorch on an EfficientNet encoder, for a number of CPU seconds.

python -m benchmarks.peer_programs.smp [--weights FILE] ...

A plain loop, as the examples of that library show it: random crops, flips, quarter turns and grey
values, Adam with a cosine schedule (by spent time), Dice loss, here with a cross-entropy. `FILE`
holds ImageNet weights of the encoder (tf_efficientnet_lite0 of timm, as safetensors), since the
library recommends a pretrained start, and downloads its own. The last weights label whole slices.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from skimage.io import imsave
from torch import Tensor

from benchmarks.peer_programs.budget import SCORED, Job, Slices, parse_job

ENCODER = "tu-tf_efficientnet_lite0"
CROP = 256
BATCH = 4
RATE = 1e-3
MEAN = 0.5
DEVIATION = 0.5
"""Of the colours with which the encoder was trained."""


def make_network(classes: int, weights: Path | None) -> torch.nn.Module:
    """Make the network, with the encoder's weights where there are any."""
    network: torch.nn.Module = smp.Unet(
        ENCODER, encoder_weights=None, in_channels=3, classes=classes
    )
    if weights is not None:
        from safetensors.torch import load_file

        encoder = network.get_submodule("encoder.model")
        lacking, _ = encoder.load_state_dict(load_file(weights), strict=False)
        # Features have no classifier; nothing else may differ.
        assert not [name for name in lacking if "num_batches" not in name], lacking
    return network


def batch_of(slices: Slices, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw crops: images (N, 3, CROP, CROP) and class indices (N, CROP, CROP)."""
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for _ in range(BATCH):
        _, image, truth = slices[generator.integers(len(slices))]
        top, left = (generator.integers(side - CROP + 1) for side in image.shape)
        place = (slice(top, top + CROP), slice(left, left + CROP))
        turns = int(generator.integers(4))
        flip = -1 if generator.random() < 0.5 else 1
        grey = np.rot90(image[place], turns)[:, ::flip].astype(np.float32) / 255
        contrast = generator.uniform(0.8, 1.2)
        brightness = generator.uniform(-0.1, 0.1)
        images.append((grey - 0.5) * contrast + 0.5 + brightness)
        labels.append(np.rot90(truth[place], turns)[:, ::flip].astype(np.int64))
    return as_input(np.stack(images)), torch.from_numpy(np.stack(labels))


def as_input(grey: np.ndarray) -> Tensor:
    """Grey values (N, H, W) in [0, 1] as three colours of the encoder."""
    scaled = torch.from_numpy((grey.astype(np.float32) - MEAN) / DEVIATION)
    return scaled[:, None].expand(-1, 3, -1, -1)


def train(job: Job, network: torch.nn.Module) -> int:
    """Train until the time is spent; the number of steps."""
    generator = np.random.default_rng(job.seed)
    slices = job.load("train")
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    dice = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, from_logits=True)
    cross_entropy = torch.nn.CrossEntropyLoss()
    network.train()
    steps = 0
    while (spent := job.share_spent()) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * spent)) / 2
        images, labels = batch_of(slices, generator)
        scores = network(images)
        loss = dice(scores, labels) + cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 50 == 0:
            print(f"step {steps}, loss {float(loss):.3f}, {spent:.0%}", flush=True)
    return steps


def main() -> None:
    """Train and predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path)
    job = parse_job(parser)
    network = make_network(len(job.classes), job.options.weights)
    steps = train(job, network)
    facts = job.report(
        iterations=steps,
        parameters=sum(weights.numel() for weights in network.parameters()),
        patch=[CROP, CROP],
        batch=BATCH,
        pretrained=job.options.weights is not None,
        versions={
            name: importlib.metadata.version(name)
            for name in ("segmentation-models-pytorch", "timm", "torch")
        },
    )
    print(facts, flush=True)
    network.eval()
    for split in SCORED:
        for name, image, _ in job.load(split):
            with torch.inference_mode():
                scores = network(as_input(image[None] / np.float32(255)))
            classes = scores.argmax(1)[0].numpy().astype(np.uint8)
            imsave(job.output / "labels" / f"{name}.png", classes, check_contrast=False)
    job.finish(facts)


if __name__ == "__main__":
    main()
