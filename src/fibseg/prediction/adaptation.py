"""Another stack than the training's: its own grey values, and its own statistics of batch norms.

A picture of another microscope moves the activations of a network away from the means and
variances that its batch norms keep of the training. How far is measured without labels; taking the
stack's own grey values, and then its own means and variances (Li et al., 2016, arXiv:1603.04779;
Nado et al., 2020, arXiv:2006.10963), brings them back. On slices like the training's, statistics of
the stack lose some F1, so that `auto` takes them only where a shift is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from fibseg.arrays import Pixels, UInt8
from fibseg.data.grey import to_8bit
from fibseg.errors import FibsegError
from fibseg.filters.slices import slice_channels
from fibseg.machine import Compute
from fibseg.models.trained import TrainedModel
from fibseg.prediction.intensity import in_grey_range, sample_grey, spread, with_intensity
from fibseg.prediction.slices import autocast
from fibseg.prediction.stack import resized
from fibseg.stack import Stack, read_finite

_SLICES = 5
"""Slices, spread over a stack, whose activations are measured."""

_SIDE = 1024
"""Rows and columns around the middle of a slice that are looked at, at most."""

_FACTOR = 3.0
"""How many times as large as in any validation slice a shift must be to count."""

_LEAST = 0.05
"""A shift below this one never counts; where a model's file has no measure, twice this does."""

_LARGEST = 20.0
"""A single activation counts for this much at most."""


@dataclass(frozen=True)
class Adaptation:
    """What was done so that a model fits a stack.

    Attributes:
        asked: `adapt` of the prediction.
        intensity: whose grey values become 0 and 255.
        norm: whether batch norms have the statistics of the stack.
        shift: of the stack before and after its grey values were taken; None where not measured.
    """

    asked: str
    intensity: str
    norm: bool = False
    shift: Sequence[float] | None = None

    def described(self) -> dict[str, Any]:
        """Give it as the notes of an output hold it."""
        shift = None if self.shift is None else [round(value, 4) for value in self.shift]
        return {
            "asked": self.asked,
            "intensity": self.intensity,
            "norm": self.norm,
            "shift": shift,
        }


def adapted(
    models: Sequence[TrainedModel],
    adapt: str,
    intensity: str,
    stack: Stack,
    scale: tuple[float, float],
    compute: Compute,
    console: Console,
) -> tuple[list[TrainedModel], Adaptation]:
    """Give the models as they label a stack, and say in one line what was changed.

    Args:
        models: as they were trained.
        adapt: "none", "grey" (the stack's own grey values), "norm" (its statistics of batch norms),
            "both", or "auto": what its shift calls for.
        intensity: one of `fibseg.models.kinds.INTENSITIES`; "grey" and "both" replace "training".
        stack: to label.
        scale: (rows, columns) that enlarge a slice for the network.
        compute: what the networks compute with.
        console: takes the line, and doubts about grey values.

    Raises:
        FibsegError: a model has no batch norms to adapt, or next to nothing of the stack is left in
            the grey range.
    """
    chosen = Adaptation(adapt, intensity)
    own = "own" if intensity == "training" else intensity
    images = [] if adapt in ("none", "grey") else _images(stack)
    if adapt in ("grey", "both"):
        chosen = replace(chosen, intensity=own)
    if adapt in ("norm", "both"):
        _require_batch_norms(models, adapt)
        chosen = replace(chosen, norm=bool(images))
    if adapt == "auto":
        chosen = _chosen(models, chosen, stack, images, scale, compute)
        console.print(_sentence(chosen, models), markup=False, highlight=False)
    models = in_grey_range(models, chosen.intensity, stack, console)
    if chosen.norm:
        models = [
            recalibrated(model, channels_for(model, images, scale, compute), compute)
            for model in models
        ]
    return models, chosen


def _chosen(
    models: Sequence[TrainedModel],
    start: Adaptation,
    stack: Stack,
    images: Sequence[Pixels],
    scale: tuple[float, float],
    compute: Compute,
) -> Adaptation:
    """Choose by the shift of the stack: first grey values, then statistics of batch norms."""
    if not images or not all(_batch_norms(model) for model in models):
        return start

    def shift(with_grey: Sequence[TrainedModel]) -> float:
        values = [
            float(np.mean(shifts(model, channels_for(model, images, scale, compute), compute)))
            for model in with_grey
        ]
        return float(np.mean(values))

    sample = sample_grey(stack)
    before = shift([with_intensity(model, start.intensity, sample) for model in models])
    measured = [before]
    limit = float(np.mean([_limit(model) for model in models]))
    if before <= limit:
        return replace(start, shift=measured)
    if start.intensity == "training":
        measured.append(shift([with_intensity(model, "own", sample) for model in models]))
        if measured[1] < before:
            start = replace(start, intensity="own")
    return replace(start, shift=measured, norm=min(measured) > limit)


def _limit(model: TrainedModel) -> float:
    """The shift above which a stack is unlike the training of a model."""
    known = (model.reference or {}).get("shift")
    return 2 * _LEAST if known is None else max(_LEAST, _FACTOR * known[1])


def _sentence(chosen: Adaptation, models: Sequence[TrainedModel]) -> str:
    """Say what adapt=auto chose, and by what."""
    if chosen.shift is None:
        reason = "the model has no batch norms to measure a shift by, or no slice can be read"
        return f"adapt=auto: nothing is adapted; {reason}"
    limit = float(np.mean([_limit(model) for model in models]))
    before = f"shift {chosen.shift[0]:.2g}, allowed {limit:.2g}"
    if chosen.shift[0] <= limit:
        return f"adapt=auto: the stack is like the training ({before}); nothing is adapted"
    changes = []
    if len(chosen.shift) > 1 and chosen.intensity == "own":
        changes.append(f"its own grey values (shift {chosen.shift[1]:.2g} with them)")
    if chosen.norm:
        changes.append("its own statistics of the batch norms")
    return f"adapt=auto: the stack is unlike the training ({before}); taken: {', '.join(changes)}"


def _require_batch_norms(models: Sequence[TrainedModel], adapt: str) -> None:
    for model in models:
        if not _batch_norms(model):
            raise FibsegError(
                f"adapt={adapt}: this {model.architecture} has no batch norms; expected none, "
                "grey or auto."
            )


def _batch_norms(model: TrainedModel) -> list[nn.BatchNorm2d]:
    """List the batch norms of a model's network; a forest has none."""
    if model.kind.compiled:
        return []
    return [module for module in model.network.modules() if isinstance(module, nn.BatchNorm2d)]


def _images(stack: Stack) -> list[Pixels]:
    """Read the middles of a few slices (H, W), spread over a stack; those that can be read."""
    images = []
    for z in spread(range(stack.shape[0]), _SLICES):
        # The prediction reports what cannot be read.
        with suppress(FibsegError):
            images.append(_middle(read_finite(stack, z)))
    return images


def _middle(image: Pixels) -> Pixels:
    """Cut out the middle of a slice (..., H, W)."""
    rows, columns = (
        slice((side - min(side, _SIDE)) // 2, (side + min(side, _SIDE)) // 2)
        for side in image.shape[-2:]
    )
    return image[..., rows, columns]


def channels_for(
    model: TrainedModel,
    images: Sequence[Pixels],
    scale: tuple[float, float],
    compute: Compute,
) -> list[UInt8]:
    """Make the channels (C, H, W) of images (H, W) as a model's grey range shows them."""
    grey = [resized(to_8bit(image, model.grey_range), scale) for image in images]
    # Whole images even for a filter of patches: the statistics are nearly the same.
    return slice_channels(grey, model.channels.areas, None, compute.processes)


def usual_shifts(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> list[float]:
    """Measure the shifts of slices (C, H, W) like the training's; none without batch norms."""
    if not _batch_norms(model):
        return []
    chosen = [np.asarray(_middle(pixels)) for pixels in spread(channels, _SLICES)]
    return shifts(model, chosen, compute)


def shifts(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> list[float]:
    """Measure how far the activations of each slice (C, H, W) are from the training's.

    It is the symmetric Kullback-Leibler divergence of two normal distributions, of a channel's
    activations here and as a batch norm keeps them of the training, in the mean over channels and
    batch norms.

    Raises:
        ValueError: the network has no batch norms.
    """
    norms = _batch_norms(model)
    if not norms:
        raise ValueError("a network without batch norms")
    values: list[float] = []

    def compare(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        activations = inputs[0].float()
        variance = activations.var((0, 2, 3), unbiased=False) + norm.eps
        mean = activations.mean((0, 2, 3))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        kept = norm.running_var + norm.eps
        distance = (mean - norm.running_mean).square() * (1 / variance + 1 / kept)
        divergence = (variance / kept + kept / variance - 2 + distance) / 4
        values.append(float(divergence.clamp(max=_LARGEST).mean()))

    result = []
    model.network.eval()
    hooks = [norm.register_forward_hook(compare) for norm in norms]
    try:
        for images in _batches(model, channels, compute):
            values.clear()
            model.network(images)
            result.append(float(np.mean(values)))
    finally:
        for hook in hooks:
            hook.remove()
    return result


def recalibrated(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> TrainedModel:
    """Give the model with batch norms that have the means and variances of slices (C, H, W).

    They are the means over the slices of each slice's own.
    """
    model = replace(model, network=copy.deepcopy(model.network).eval())
    with _statistics_taken(_batch_norms(model)):
        for images in _batches(model, channels, compute):
            model.network(images)
    return model


@contextmanager
def _statistics_taken(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Let batch norms take the mean of the statistics that they see, and nothing else learn."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _batches(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> Iterator[Tensor]:
    """Give slices (C, H, W) one by one as the network takes them; it is put on its device."""
    model.network.to(compute.device)
    # Inference mode would make the statistics inference tensors, which no later pass may change.
    with torch.no_grad(), autocast(compute):
        for pixels in channels:
            yield torch.from_numpy(pixels)[None].to(compute.device).float().mul_(1 / 255)
