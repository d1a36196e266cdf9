"""Grey values of a stack against those of the training, before the first slice is labelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from rich.console import Console

from fibseg.arrays import Pixels, UInt8
from fibseg.data.grey import (
    DRIFTED_SHARE,
    FEWEST_LEVELS,
    GreyRange,
    GreySummary,
    padding_value,
    summary_of_samples,
    to_8bit,
    without_padding,
)
from fibseg.errors import FibsegError
from fibseg.machine import print_warnings
from fibseg.models.trained import TrainedModel
from fibseg.prediction.voxels import resized
from fibseg.stack import Stack, read_finite

_T = TypeVar("_T")

_SAMPLED_SLICES = 16
"""Slices, evenly over a stack, that stand for its grey values."""

_SAMPLED_PIXELS = 250_000
"""Pixels of such a slice, at equal distances."""

_MOST_OUTSIDE = 0.5
"""Share of the pixels outside the grey range, above which a model sees next to nothing."""

_OLDER_PERCENTILES = (0.1, 99.9)
"""Percentiles of the grey range where a model's file is too old to tell them."""


def spread(positions: Sequence[_T], count: int) -> list[_T]:
    """Take the middles of `count` equal parts of the positions; all of them where they are few.

    >>> spread(range(100), 4)
    [12, 37, 62, 87]
    """
    if len(positions) <= count:
        return list(positions)
    # Not the ends, where a stack is often empty or out of focus.
    return [positions[(2 * k + 1) * len(positions) // (2 * count)] for k in range(count)]


@dataclass(frozen=True)
class GreySample:
    """Pixels that stand for the grey values of a stack.

    Attributes:
        slices: (n,) pixels of each sampled slice, without padding.
        pixels: their number with it.
    """

    slices: Sequence[Pixels]
    pixels: int

    def summary(self) -> GreySummary:
        """Summarise the grey values in a few numbers."""
        return summary_of_samples(self.slices, self.pixels)

    def outside(self, grey_range: GreyRange) -> list[float]:
        """Compute the share of each slice's pixels outside a grey range."""
        return [grey_range.outside(pixels) for pixels in self.slices]

    def levels(self) -> int:
        """Count how many different grey values there are."""
        return len(np.unique(np.concatenate(self.slices)))


def sample_grey(stack: Stack) -> GreySample | None:
    """Take a sample of a stack's pixels; None where no slice can be read, or all is padding."""
    slices: list[Pixels] = []
    flat: list[Pixels] = []
    count = 0
    for z in spread(range(stack.shape[0]), _SAMPLED_SLICES):
        # The prediction reports what cannot be read.
        with suppress(FibsegError):
            image = read_finite(stack, z)
            image = image.view(np.uint8) if image.dtype == bool else image
            step = max(1, int((image.size / _SAMPLED_PIXELS) ** 0.5))
            thinned = image[::step, ::step]
            # A copy: a view would keep the whole slice in memory.
            tissue = without_padding(thinned.copy())
            count += thinned.size
            # At the ends of a stack whole slices may be empty.
            (slices if tissue.min() < tissue.max() else flat).append(tissue)
    chosen = slices or flat
    return GreySample(chosen, count) if chosen else None


def tissue_outside(image: Pixels, grey_range: GreyRange) -> float:
    """Compute the share of the pixels (H, W) outside a grey range, without padding that is."""
    share = grey_range.outside(image)
    # Looked for where it matters alone: most slices have none.
    if share <= DRIFTED_SHARE or grey_range.percentiles is not None:
        return share
    padding = padding_value(image)
    if padding is None or grey_range.low <= padding <= grey_range.high:
        return share
    return grey_range.outside(image[image != padding])


def without_borders(pictures: Pixels) -> Pixels:
    """Cut off the rows and columns at the borders of (n, H, W) where the first is padding alone."""
    image = pictures[0]
    padding = padding_value(image)
    if padding is None:
        return pictures
    rows, columns = (np.flatnonzero((image != padding).any(axis=axis)) for axis in (1, 0))
    return pictures[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def in_8bit(pictures: Iterable[Pixels], grey_range: GreyRange, scale: tuple[float, float]) -> UInt8:
    """Give pictures (H, W) in 8 bits (n, h, w), enlarged by `scale` (rows, columns)."""
    return np.stack([resized(to_8bit(picture, grey_range), scale) for picture in pictures])


def with_intensity(model: TrainedModel, intensity: str, sample: GreySample | None) -> TrainedModel:
    """Give the model with the grey range of a stack in place of its training's.

    Args:
        model: that labels the stack.
        intensity: one of `fibseg.models.kinds.INTENSITIES`.
        sample: of the stack; None where it has no readable tissue.

    Raises:
        FibsegError: the stack has one grey value only.
    """
    if intensity == "training" or sample is None:
        return model
    percentiles = model.grey_range.percentiles or model.grey_percentiles or _OLDER_PERCENTILES
    if intensity == "slice":
        # Slices without contrast keep the range of the training.
        per_slice = (float(percentiles[0]), float(percentiles[1]))
        return replace(model, grey_range=replace(model.grey_range, percentiles=per_slice))
    grey = np.concatenate(sample.slices)
    low, high = (float(value) for value in np.percentile(grey, percentiles))
    if not high > low:
        raise FibsegError(f"intensity={intensity}: the stack has one grey value only ({low:g}).")
    return replace(model, grey_range=GreyRange(low, high))


def in_grey_range(
    models: Sequence[TrainedModel], intensity: str, stack: Stack, console: Console
) -> list[TrainedModel]:
    """Give the models with the grey range that they label a stack with, and print doubts about it.

    Raises:
        FibsegError: next to nothing of the stack is left in the grey range of a model.
    """
    sample = sample_grey(stack)
    models = [with_intensity(model, intensity, sample) for model in models]
    if sample is not None:
        check_grey(models=models, intensity=intensity, sample=sample, stack=stack, console=console)
        grey = models[0].grey_range
        if intensity != "training":
            console.print(f"grey values of this stack: {grey.low:g} to {grey.high:g}")
    return models


def check_grey(
    models: Sequence[TrainedModel],
    intensity: str,
    sample: GreySample,
    stack: Stack,
    console: Console,
) -> None:
    """Compare the grey values of a stack with the training's; prints what is doubtful.

    Args:
        models: that label the stack, with the grey range that they label it with.
        intensity: whose range that is, one of `fibseg.models.kinds.INTENSITIES`.
        sample: of the stack.
        stack: the image.
        console: takes the warnings.

    Raises:
        FibsegError: in the grey range of a model next to nothing of the stack is left.
    """
    # Models of one grey range are one question.
    for model in {model.grey_range: model for model in models}.values():
        if intensity == "training" and model.grey_range.percentiles is None:
            _refuse_other_scale(model, sample, stack)
    print_warnings(console, stack_doubts(models[0], intensity, sample))


def _refuse_other_scale(model: TrainedModel, sample: GreySample, stack: Stack) -> None:
    grey = model.grey_range
    outside = float(np.mean(sample.outside(grey)))
    summary = sample.summary()
    levels = summary.levels(grey.low, grey.high)
    trained = model.grey_summary
    # A training of little contrast in a wide range had few levels, too.
    usual = trained.levels(grey.low, grey.high) if trained is not None else 255.0
    few = levels < min(FEWEST_LEVELS, usual / 2) and sample.levels() > 2
    if outside <= _MOST_OUTSIDE and not few:
        return
    loss = f"{outside:.0%} of its pixels lie outside"
    if outside <= _MOST_OUTSIDE:
        loss = f"its pixels take {levels:.2g} of the 256 grey levels of"
    raise FibsegError(
        f"{stack.name}: {loss} the grey values of the training ({grey.low:g} to {grey.high:g}), "
        f"for the stack has {summary.range_text()}; intensity=own takes the stack's own grey "
        "values, or save it in the scale of the training."
    )


def stack_doubts(model: TrainedModel, intensity: str, sample: GreySample) -> list[str]:
    """List in sentences how a stack's grey values differ from the training's.

    Where the stack has a grey range of its own, contrast and brightness are those of the training,
    and only the distribution of its grey values is compared.
    """
    grey = model.grey_range
    is_scaled = intensity != "training" or grey.percentiles is not None
    doubts = []
    # A range of its own leaves next to nothing of a stack outside.
    shares = [] if is_scaled else sample.outside(grey)
    drifted = sum(share > DRIFTED_SHARE for share in shares)
    if drifted:
        doubts.append(
            f"{drifted} of {len(shares)} sampled slices have over {DRIFTED_SHARE:.0%} of their "
            f"pixels outside the grey values of the training ({grey.low:g} to {grey.high:g}); "
            "intensity=own or intensity=slice takes the stack's own."
        )
    trained = model.grey_summary
    if trained is not None:
        summary = sample.summary()
        subject = "grey values of the image"
        if is_scaled:
            summary = _in_scale_of(trained, summary)
            subject = "grey values of the image in the scale of the training"
        doubts += trained.doubts(summary, "the training", subject)
    return doubts


def _in_scale_of(trained: GreySummary, summary: GreySummary) -> GreySummary:
    """Shift and stretch grey values so that nearly all have the range of the training's."""
    low = summary.quantiles[0]
    high = summary.quantiles[-1]
    start = trained.quantiles[0]
    end = trained.quantiles[-1]
    factor = (end - start) / (high - low) if high > low else 1.0
    quantiles = [start + (value - low) * factor for value in summary.quantiles]
    return replace(summary, quantiles=quantiles)
