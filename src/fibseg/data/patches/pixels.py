"""Patches of slices that lie on the training device, cut a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fibseg.arrays import Ints, UInt8
from fibseg.data.labels.instances import ObjectNumbers
from fibseg.data.sampling import Patches

_WORDS = {2: torch.int16, 4: torch.int32}
"""Bytes of a pixel -> the numbers that hold them; more bytes are numbers of eight."""


class Batch(NamedTuple):
    """A mini-batch of N patches.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1], by `fibseg.filters.channels.Channels`.
        labels: (N, H, W) int64 class indices, IGNORE where nothing is annotated.
        drawn_class: (N,) the class each patch was centred on, 0 for a random place.
        objects: (N, H, W) int32 numbers of objects, which follow the labels; 0 for none, UNKNOWN
            (`fibseg.data.labels.instances`) where an object has no id; None without a head.
    """

    images: Tensor
    labels: Tensor
    drawn_class: Tensor
    objects: Tensor | None = None


def bytes_of_pixel(channels: int) -> int:
    """Bytes that the channels and the label of a pixel take on the device."""
    return next((size for size in _WORDS if channels < size), 8 * (channels // 8 + 1))


class SlicePixels:
    """Slices on the training device: all channels of a pixel, then its label, side by side.

    So a patch is read by one index for each of its pixels, turned and mirrored by the order of the
    indices, and a batch takes as many operations as a patch.
    """

    def __init__(
        self,
        images: Sequence[UInt8],
        labels: Sequence[UInt8],
        device: torch.device,
        objects: Sequence[ObjectNumbers] | None = None,
    ):
        """Copy slices to a device.

        Args:
            images: (C, H, W) of each slice; slices may have other sides.
            labels: (H, W) class indices of each slice.
            device: where patches are cut.
            objects: (H, W) numbers of objects of each slice, where a network learns them.
        """
        self._channels = len(images[0])
        self._shapes = np.array([slice_labels.shape for slice_labels in labels], np.int64)
        ends = self._shapes.prod(axis=1).cumsum()
        self._starts = np.array([0, *ends[:-1]], np.int64)
        pixels = np.zeros((ends[-1], bytes_of_pixel(self._channels)), np.uint8)
        for start, end, image, slice_labels in zip(self._starts, ends, images, labels, strict=True):
            pixels[start:end, : self._channels] = image.reshape(self._channels, -1).T
            pixels[start:end, self._channels] = slice_labels.ravel()
        self._pixels = torch.from_numpy(pixels).to(device)
        self._objects: Tensor | None = None
        if objects is not None:
            numbers = np.concatenate([item.ravel() for item in objects])
            self._objects = torch.from_numpy(numbers).to(device)
        # One number is gathered faster than its bytes, and short indices are made faster.
        self._words = self._pixels.view(_WORDS.get(pixels.shape[1], torch.int64)).squeeze(1)
        self._index = torch.int32 if len(pixels) < 2**31 else torch.int64

    @property
    def images(self) -> list[Tensor]:
        """Give the channels (C, H, W) of each slice, uint8."""
        return [pixels[..., : self._channels].movedim(-1, 0) for pixels in self._slices()]

    @property
    def labels(self) -> list[Tensor]:
        """Give the labels (H, W) of each slice, uint8."""
        return [pixels[..., self._channels] for pixels in self._slices()]

    def _slices(self) -> list[Tensor]:
        return [
            self._pixels[start : start + height * width].view(height, width, -1)
            for start, (height, width) in zip(self._starts, self._shapes.tolist(), strict=True)
        ]

    def places(self, patches: Patches, size: int) -> Tensor:
        """Say where patches of `size` pixels a side lie, for `cut`: (4, N) on the device.

        The rows are the position of a patch's first pixel, the steps to the pixel below it and to
        the one at its right, all as numbers of pixels, and the class that it was centred on.
        """
        # Quarter turns are counter-clockwise and come before the flips, as in the authors' code:
        # they are part of the patch stream. (y, x) is the place in the slice of pixel (0, 0), and
        # the others follow from how y and x change along rows and columns.
        turns = patches.quarter_turns
        cosine = np.array([1, 0, -1, 0])[turns]
        sine = np.array([0, 1, 0, -1])[turns]
        # A turn puts source pixel (cosine * i + sine * j, cosine * j - sine * i) at (i, j).
        mirrored_rows = 1 - 2 * patches.flip_rows
        mirrored_columns = 1 - 2 * patches.flip_columns
        y_steps = np.stack([cosine * mirrored_rows, sine * mirrored_columns])
        x_steps = np.stack([-sine * mirrored_rows, cosine * mirrored_columns])
        y = patches.row + _first(y_steps, size)
        x = patches.column + _first(x_steps, size)
        widths = self._shapes[patches.index, 1]
        start = self._starts[patches.index] + y * widths + x
        steps = y_steps * widths + x_steps
        table = np.stack([start, *steps, patches.drawn_class])
        return torch.from_numpy(table).to(self._pixels.device, self._index)

    def cut(self, places: Tensor, size: int) -> Batch:
        """Cut, turn and mirror the patches of `places`; the images are uint8 still.

        Images lie in memory with the channels last, as convolutions are fast with them.
        """
        start, down, right, drawn_class = places
        along = torch.arange(size, dtype=self._index, device=places.device)
        rows = start[:, None] + down[:, None] * along
        columns = right[:, None] * along
        index = (rows[:, :, None] + columns[:, None, :]).flatten()
        pixels = self._words.index_select(0, index).view(torch.uint8)
        pixels = pixels.view(len(start), size, size, -1)
        objects = None
        if self._objects is not None:
            objects = self._objects.index_select(0, index).view(len(start), size, size)
        return Batch(
            images=pixels[..., : self._channels].permute(0, 3, 1, 2),
            labels=pixels[..., self._channels].long(),
            drawn_class=drawn_class,
            objects=objects,
        )


def _first(steps: Ints, size: int) -> Ints:
    """Where a coordinate begins that runs through [0, size) by steps (2, N) of -1, 0 or 1."""
    backwards: Ints = (steps.sum(axis=0) < 0) * (size - 1)
    return backwards
