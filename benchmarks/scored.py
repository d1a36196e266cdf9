"""The test slices of a run and the F1 of their labels, for the benchmarks of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor

from fibseg.arrays import UInt8
from fibseg.config.compose import description_of
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import Compute, cores
from fibseg.models.trained import TrainedModel, load_model
from fibseg.prediction.slices import Network, autocast, model_channels
from fibseg.runs import RunDirectory, find_checkpoint, read_config
from fibseg.scores import confusion_counts, mean_f1

BATCH_SIZE = 16


@dataclass(frozen=True)
class ScoredRun:
    """A run with the test slices of its data.

    Attributes:
        model: of the run, on the device of `compute`.
        slices: test slices.
        channels: (C, H, W) of each.
        compute: what the network computes with.
    """

    model: TrainedModel
    slices: list[AnnotatedSlice]
    channels: list[UInt8]
    compute: Compute


def slices_to_test(run: Path, root: str | None) -> list[AnnotatedSlice]:
    """The test slices of a run; `root` takes the place of the root of its data."""
    config = read_config(RunDirectory(run))
    if config is None:
        raise SystemExit(f"{run}: no config.yaml")
    description = description_of(config["data"], str(run))
    description.root = root or description.root
    return load_slices(description)["test"]


def open_scored(
    run: Path, root: str | None, device: torch.device, count: int | None = None
) -> ScoredRun:
    """A run with its first `count` test slices, or all of them."""
    model = load_model(find_checkpoint(run))
    model.network.to(device).eval()
    slices = slices_to_test(run, root)[:count]
    images = [annotated.pictures(model.grey_range) for annotated in slices]
    channels = list(model_channels(model, images, None, cores()))
    compute = Compute(
        device=device, precision=model.precision, batch_size=BATCH_SIZE, filter_threads=cores()
    )
    return ScoredRun(model, slices, channels, compute)


def monai_windows(scored: ScoredRun, overlap: float) -> Network:
    """The network in MONAI's sliding windows of the size of a patch, with Gaussian weights."""
    inferer = SlidingWindowInferer(scored.model.patch_size, BATCH_SIZE, overlap, mode="gaussian")

    def network(images: Tensor) -> Tensor:
        scores = inferer(images, scored.model.network)
        assert isinstance(scores, Tensor)
        return scores

    return network


def by_monai(scored: ScoredRun, overlap: float) -> list[UInt8]:
    """Labels by MONAI's sliding windows."""
    network = monai_windows(scored, overlap)
    return [labels_of(scored, channels, network) for channels in scored.channels]


def by_network_alone(scored: ScoredRun) -> list[UInt8]:
    """Labels by the network on whole slices, without any windows."""
    return [labels_of(scored, channels, scored.model.network) for channels in scored.channels]


def labels_of(scored: ScoredRun, channels: UInt8, network: Network) -> UInt8:
    """Labels (H, W) of one slice (C, H, W) by a function of (1, C, H, W)."""
    image = torch.from_numpy(channels).to(scored.compute.device)[None].float().mul_(1 / 255)
    with torch.inference_mode(), autocast(scored.compute):
        labels: UInt8 = network(image).argmax(1)[0].to("cpu", torch.uint8).numpy()
    return labels


def f1_of_labels(
    names: Sequence[str], slices: Sequence[AnnotatedSlice], labels: Sequence[UInt8]
) -> dict[str, float]:
    """Mean F1 over the slices of each class but the background."""
    pairs = zip(slices, labels, strict=True)
    counts = np.stack(
        [confusion_counts(annotated.labels, pixels, len(names)) for annotated, pixels in pairs]
    )
    scores = [round(score, 4) for score in mean_f1(counts)[1:].tolist()]
    return dict(zip(names[1:], scores, strict=True))
