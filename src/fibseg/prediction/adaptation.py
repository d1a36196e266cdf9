"""Another stack than the training's: its own grey values, and its own statistics of batch norms.

A picture of another microscope moves the activations of a network away from the means and
variances that its batch norms keep of the training. How far is measured without labels; taking the
stack's own grey values, and then its own means and variances (Li et al., 2016, arXiv:1603.04779;
Nado et al., 2020, arXiv:2006.10963), brings them back. On slices like the training's, statistics of
the stack lose some F1, so that `auto` takes them only where a shift is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from fibseg.arrays import Pixels, UInt8
from fibseg.errors import FibsegError
from fibseg.filters.slices import slice_channels
from fibseg.machine import Compute
from fibseg.models import batch_norms
from fibseg.models.trained import TrainedModel
from fibseg.prediction.intensity import (
    GreySample,
    in_8bit,
    in_grey_range,
    sample_grey,
    spread,
    with_intensity,
    without_borders,
)
from fibseg.prediction.output.changes import pixel_digest
from fibseg.prediction.slices import autocast
from fibseg.stack import Stack, read_finite, read_neighbours

_SLICES = 5
"""Slices, spread over a stack, whose activations are measured."""

_CANDIDATES = 16
"""Slices among which these are chosen: some may be empty."""

_SIDE = 1024
"""Rows and columns around the middle of a slice that the network sees, at most."""

_LEAST_SIDE = 64
"""A smaller slice says nothing of the deepest activations."""

_CLEARLY = 0.75
"""Share of the shift that grey values of the stack may leave if they are taken."""

_FACTOR = 3.0
"""How many times as large as in any validation slice a shift must be to count."""

_LEAST = 0.05
"""A shift below this one never counts; where a model's file has no measure, twice this does."""


@dataclass(frozen=True)
class Adaptation:
    """What was done so that a model fits a stack.

    Attributes:
        asked: `adapt` of the prediction.
        intensity: whose grey values become 0 and 255.
        norm: whether batch norms have the statistics of the stack.
        shift: of the stack before and after its grey values were taken; None where not measured.
        originals: the models with their own statistics, where `norm` gave them others.
        sampled: digest of the pixels whose statistics were taken.
    """

    asked: str
    intensity: str
    norm: bool = False
    shift: Sequence[float] | None = None
    originals: Sequence[TrainedModel] = ()
    sampled: str = ""

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
    context = max(model.channels.context for model in models)
    images = [] if adapt in ("none", "grey") else _images(stack, scale, context)
    if adapt in ("grey", "both"):
        chosen = replace(chosen, intensity="own" if intensity == "training" else intensity)
    if adapt in ("norm", "both"):
        _require_batch_norms(models, adapt)
        chosen = replace(chosen, norm=bool(images))
    if adapt == "auto":
        chosen = _chosen(
            models=models,
            start=chosen,
            sample=sample_grey(stack),
            images=images,
            scale=scale,
            compute=compute,
        )
        console.print(_sentence(chosen, models), markup=False, highlight=False)
    models = in_grey_range(models, chosen.intensity, stack, console)
    if chosen.norm:
        # By what it was made of: statistics have other last bits on another machine.
        digest = " ".join(pixel_digest(image) for image in images)
        chosen = replace(chosen, originals=models, sampled=digest)
        models = [
            recalibrated(model, channels_for(model, images, scale, compute), compute)
            for model in models
        ]
    return models, chosen


def _chosen(
    models: Sequence[TrainedModel],
    start: Adaptation,
    sample: GreySample | None,
    images: Sequence[Pixels],
    scale: tuple[float, float],
    compute: Compute,
) -> Adaptation:
    """Choose by the shift of the stack: first grey values, then statistics of batch norms."""
    if not images or not all(has_batch_norms(model) for model in models):
        return start

    def shift(with_grey: Sequence[TrainedModel]) -> float:
        values = [
            float(np.mean(shifts(model, channels_for(model, images, scale, compute), compute)))
            for model in with_grey
        ]
        return float(np.mean(values))

    before = shift([with_intensity(model, start.intensity, sample) for model in models])
    measured = [before]
    limit = float(np.mean([_limit(model) for model in models]))
    if before <= limit:
        return replace(start, shift=measured)
    if start.intensity == "training":
        measured.append(shift([with_intensity(model, "own", sample) for model in models]))
        if measured[1] < _CLEARLY * before:
            start = replace(start, intensity="own")
    left = measured[-1] if start.intensity == "own" else before
    return replace(start, shift=measured, norm=left > limit)


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
        if not has_batch_norms(model):
            raise FibsegError(
                f"adapt={adapt}: this {model.architecture} has no batch norms; expected none, "
                "grey or auto."
            )


def has_batch_norms(model: TrainedModel) -> bool:
    """Whether a model is a network with batch norms; a forest has none."""
    return not model.kind.compiled and bool(batch_norms.batch_norms(model.network))


def _images(stack: Stack, scale: tuple[float, float], context: int) -> list[Pixels]:
    """Read the middles of a few slices (1 + 2 * context, H, W), spread over a stack.

    Left out are slices that cannot be read, or show little but padding: they are not unlike the
    training, they are empty.
    """
    images = []
    for z in spread(range(stack.shape[0]), _CANDIDATES):
        # The prediction reports what cannot be read.
        with suppress(FibsegError):
            pictures = np.stack([read_finite(stack, z), *read_neighbours(stack, z, context)])
            middle = _middle(without_borders(pictures), max(1, int(_SIDE / max(scale))))
            if (
                min(middle.shape[1:]) * min(scale) >= _LEAST_SIDE
                and middle[0].min() < middle[0].max()
            ):
                images.append(middle)
    return spread(images, _SLICES)


def _middle(image: Pixels, side: int) -> Pixels:
    """Cut out the middle of a slice (..., H, W), `side` pixels long at most."""
    rows, columns = (
        slice((length - min(length, side)) // 2, (length + min(length, side)) // 2)
        for length in image.shape[-2:]
    )
    return image[..., rows, columns]


def channels_for(
    model: TrainedModel,
    images: Sequence[Pixels],
    scale: tuple[float, float],
    compute: Compute,
) -> list[UInt8]:
    """Make the channels (C, H, W) of slices and their neighbours (1 + n, H, W) for a model."""
    count = 1 + 2 * model.channels.context
    grey = [in_8bit(pictures[:count], model.grey_range, scale) for pictures in images]
    # Whole images even for a filter of patches: the statistics are nearly the same.
    return slice_channels(grey, model.channels.areas, None, compute.filter_threads)


def usual_shifts(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> list[float]:
    """Measure the shifts of slices like the training's; none without batch norms.

    Args:
        model: that was trained.
        channels: (C, H, W) of slices, the image alone where patches are filtered by themselves.
        compute: what the network computes with.
    """
    chosen = [np.asarray(_middle(pixels, _SIDE)) for pixels in spread(channels, _SLICES)]
    if not has_batch_norms(model) or min(chosen[0].shape[1:]) < _LEAST_SIDE:
        return []
    if model.channels.by_patch:
        chosen = slice_channels(chosen, model.channels.areas, None, compute.filter_threads)
    return shifts(model, chosen, compute)


def shifts(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> list[float]:
    """Measure the shift of each slice (C, H, W) from the training, see `models.batch_norms`."""
    model.network.to(compute.device)
    with autocast(compute):
        return batch_norms.activation_shifts(model.network, _batches(channels, compute))


def recalibrated(model: TrainedModel, channels: Sequence[UInt8], compute: Compute) -> TrainedModel:
    """Give the model with batch norms that have the means and variances of slices (C, H, W)."""
    model.network.to(compute.device)
    with autocast(compute):
        network: Any = batch_norms.with_statistics_of(model.network, _batches(channels, compute))
    return replace(model, network=network)


def _batches(channels: Sequence[UInt8], compute: Compute) -> Iterator[Tensor]:
    """Give slices (C, H, W) one by one as the network takes them."""
    for pixels in channels:
        yield torch.from_numpy(pixels)[None].to(compute.device).float().mul_(1 / 255)
