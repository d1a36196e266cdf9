"""Changes of grey values and places by which a few patches stand for many, on the training device.

Contrast, brightness, gamma, noise, blur and lower resolution are those of nnU-Net (Isensee et al.,
Nature Methods 2021, doi:10.1038/s41592-020-01008-z); curtains and charging are what an ion beam and
resin do to a slice (see `fibseg.phantom.camera`). Turns and flips, which the paper has, are drawn
with the patches (`fibseg.data.sampling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fibseg.arrays import IGNORE
from fibseg.data.patches import Batch
from fibseg.data.sampling import Augmentation

_BLUR_REACH = 3
"""Standard deviations of a blur that its kernel covers."""

_ELASTIC_CELL = 32
"""Pixels between the points of a patch that are moved by themselves."""

_CHARGE_KEPT = 0.96
"""The part of the charging that is left one pixel further along the line."""


class Generators(NamedTuple):
    """Where the random numbers of an epoch come from.

    Attributes:
        numbers: of those that belong to a patch, on the host, where they decide what is computed.
        fields: of those that belong to pixels, on the device of the patches; on a CPU the same.
    """

    numbers: torch.Generator
    fields: torch.Generator


def augmentation_generators(device: torch.device, seed: int, epoch: int) -> Generators:
    """Make the generators of an epoch, which share their stream with no other."""
    # 2 keeps it apart from the streams of patches.
    state = np.random.SeedSequence([2, seed, epoch]).generate_state(1, np.uint64)
    numbers, fields = (
        torch.Generator(place).manual_seed(int(state[0]) >> 1) for place in ("cpu", device)
    )
    return Generators(numbers, numbers if device.type == "cpu" else fields)


def augmented(batch: Batch, settings: Augmentation, generators: Generators) -> Batch:
    """Change the patches of a batch, by the same numbers in all channels of a patch.

    The host never waits for the device.

    Args:
        batch: images (N, C, H, W) in [0, 1], labels and objects (N, H, W), which follow where
            places move; what comes in from beyond the border is mirrored, and labelled IGNORE.
        settings: how much.
        generators: of this epoch, for the device of the batch.
    """
    if settings.is_plain:
        return batch
    images = batch.images
    labels = batch.labels
    objects = batch.objects
    draw = _Draw(generators, len(labels), settings.share, images.device)
    if settings.scale > 0 or settings.elastic > 0:
        places = _places(labels, settings, draw)
        outside = (places.abs() > 1 + 1e-6).any(dim=-1)
        images = functional.grid_sample(
            images, places, mode="bilinear", padding_mode="reflection", align_corners=True
        )
        labels = _moved(labels, places).long().masked_fill(outside, IGNORE)
        # By the same places: an object that is bent has its border where its pixels are.
        objects = None if objects is None else _moved(objects, places).masked_fill(outside, 0)
    images = _other_sharpness(images, settings, draw)
    images = _other_grey(images, settings, draw)
    return batch._replace(images=images.clamp_(0, 1), labels=labels, objects=objects)


@dataclass(frozen=True)
class _Draw:
    """Random numbers for N patches; as many whatever the outcome, so that streams stay in step."""

    generators: Generators
    count: int
    share: float
    device: torch.device

    def chosen(self) -> Tensor:
        """(N, 1, 1, 1) 1 with the chance of a change, else 0."""
        return self.on_device(self.chosen_on_host())

    def uniform(self, low: float, high: float) -> Tensor:
        """(N, 1, 1, 1) numbers of a range."""
        return self.on_device(self.uniform_on_host(low, high))

    def chosen_on_host(self) -> Tensor:
        """As `chosen`, where it decides what is computed."""
        return (self.uniform_on_host(0, 1) < self.share).float()

    def uniform_on_host(self, low: float, high: float) -> Tensor:
        """As `uniform`, where it decides what is computed."""
        numbers = torch.rand(self.count, 1, 1, 1, generator=self.generators.numbers)
        return low + (high - low) * numbers

    def normal(self, *shape: int) -> Tensor:
        """(N, *shape) numbers of the standard normal distribution."""
        return torch.randn(self.count, *shape, generator=self.generators.fields, device=self.device)

    def on_device(self, numbers: Tensor) -> Tensor:
        """Copy numbers of the host to the device."""
        return numbers.to(self.device, non_blocking=True)


def _places(labels: Tensor, settings: Augmentation, draw: _Draw) -> Tensor:
    """Draw where each pixel of scaled and bent patches comes from, (N, H, W, 2), x first.

    -1 and 1 are the centres of the outer pixels; `labels` (N, H, W) give the size.
    """
    height, width = labels.shape[-2:]
    limit = float(np.log1p(settings.scale))
    factor = (draw.chosen() * draw.uniform(-limit, limit)).exp()
    rows = torch.linspace(-1, 1, height, device=labels.device)
    columns = torch.linspace(-1, 1, width, device=labels.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    # (N, H, W, 2) with x first, as torch wants it. A larger factor shows less of the patch.
    places = torch.stack([x, y], dim=-1) / factor
    if settings.elastic > 0:
        cells = (height // _ELASTIC_CELL + 2, width // _ELASTIC_CELL + 2)
        moves = draw.normal(2, *cells) * draw.chosen() * settings.elastic
        moves = functional.interpolate(
            moves, (height, width), mode="bicubic", align_corners=True
        ).movedim(1, -1)
        places = places + moves * torch.tensor(
            [2 / max(1, width - 1), 2 / max(1, height - 1)], device=labels.device
        )
    return places


def _moved(numbers: Tensor, places: Tensor) -> Tensor:
    """Take the nearest pixel of (N, H, W) whole numbers at places (N, H, W, 2)."""
    # Class indices and numbers of objects are below 2^24: floats hold them exactly.
    moved = functional.grid_sample(
        numbers[:, None].float(), places, "nearest", "reflection", align_corners=True
    )
    return moved[:, 0].round().to(numbers.dtype)


def _other_sharpness(images: Tensor, settings: Augmentation, draw: _Draw) -> Tensor:
    """Blur some patches, and give some larger pixels."""
    height, width = images.shape[-2:]
    if settings.blur > 0:
        chosen = draw.chosen_on_host()
        deviation = draw.uniform_on_host(0.3 * settings.blur, settings.blur)
        positions = chosen.flatten().nonzero().flatten()
        if len(positions):
            reach = int(np.ceil(_BLUR_REACH * settings.blur))
            steps = torch.arange(-reach, reach + 1)
            kernels = (-0.5 * (steps / deviation[positions].flatten()[:, None]) ** 2).exp()
            kernels = draw.on_device(kernels / kernels.sum(1, keepdim=True))
            which = draw.on_device(positions)
            images = images.clone()
            images[which] = _blurred(images[which], kernels)
    if settings.coarse > 1:
        chosen = draw.chosen_on_host()
        factors = draw.uniform_on_host(1, settings.coarse)
        table = torch.stack([chosen.flatten(), factors.flatten()]).T.tolist()
        images = images.clone()
        for index, (is_chosen, factor) in enumerate(table):
            if is_chosen:
                size = (max(1, round(height / factor)), max(1, round(width / factor)))
                small = functional.interpolate(images[index][None], size, mode="area")
                images[index] = functional.interpolate(
                    small, (height, width), mode="bicubic", align_corners=False
                )[0]
    return images


def _blurred(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter images (N, C, H, W) along rows and columns by a kernel (N, k) for each."""
    count, channels, height, width = images.shape
    reach = kernels.shape[1] // 2
    # Every channel of every image is a group of its own.
    weights = kernels.repeat_interleave(channels, 0)[:, None, None, :]
    flat = images.reshape(1, count * channels, height, width)
    padded = functional.pad(flat, (reach, reach, 0, 0), mode="replicate")
    flat = functional.conv2d(padded, weights, groups=count * channels)
    padded = functional.pad(flat, (0, 0, reach, reach), mode="replicate")
    flat = functional.conv2d(padded, weights.transpose(2, 3), groups=count * channels)
    return flat.reshape(count, channels, height, width)


def _other_grey(images: Tensor, settings: Augmentation, draw: _Draw) -> Tensor:
    """Change contrast, brightness and gamma; add curtains, charging and noise."""
    height, width = images.shape[-2:]
    if settings.gamma > 0:
        limit = float(np.log1p(settings.gamma))
        exponent = (draw.chosen() * draw.uniform(-limit, limit)).exp()
        images = images.clamp(0, 1) ** exponent
    if settings.gain > 0:
        factor = 1 + draw.chosen() * draw.uniform(-settings.gain, settings.gain)
        mean = images.mean((2, 3), keepdim=True)
        images = (images - mean) * factor + mean
    if settings.offset > 0:
        images = images + draw.chosen() * draw.uniform(-settings.offset, settings.offset)
    if settings.curtains > 0:
        images = images + draw.chosen() * draw.normal(1, 1, width) * settings.curtains
    if settings.charging > 0:
        decay = _CHARGE_KEPT ** torch.arange(width, device=images.device)
        start = draw.uniform(-settings.charging, settings.charging)
        lines = 1 + 0.3 * draw.normal(1, height, 1)
        images = images + draw.chosen() * start * lines * decay
    if settings.noise > 0:
        deviation = draw.chosen() * draw.uniform(0, settings.noise)
        # The same in all channels: a filtered slice has the noise of its image, or less.
        images = images + deviation * draw.normal(1, height, width)
    return images
