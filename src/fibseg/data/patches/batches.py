"""Patches cut from slices, and the batches that they make."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from fibseg.arrays import UInt8
from fibseg.data.sampling import Patches, turned
from fibseg.filters.patches import PatchFilter, channels_of


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


@dataclass(frozen=True)
class SlicePixels:
    """Slices on the training device: images (C, H, W) and labels (H, W), all uint8.

    Where a network learns objects, there are their numbers (H, W) int32, too.
    """

    images: list[Tensor]
    labels: list[Tensor]
    objects: list[Tensor] | None = None


def cut_patches(slices: SlicePixels, patches: Patches, size: int) -> Batch:
    """Cut, turn and mirror patches of `size` pixels a side; their images are uint8 still."""
    images = []
    labels = []
    objects = []
    for i in range(len(patches)):
        index = patches.index[i]
        row = int(patches.row[i])
        column = int(patches.column[i])
        place = (..., slice(row, row + size), slice(column, column + size))
        turns = int(patches.quarter_turns[i])
        flips = (bool(patches.flip_columns[i]), bool(patches.flip_rows[i]))
        # Image and labels are turned alike, or pixels would lose their class.
        images.append(turned(slices.images[index][place], turns, *flips))
        labels.append(turned(slices.labels[index][place], turns, *flips))
        if slices.objects is not None:
            objects.append(turned(slices.objects[index][place], turns, *flips))
    classes = torch.stack(labels).long()
    drawn_class = torch.as_tensor(patches.drawn_class, device=classes.device)
    return Batch(
        images=torch.stack(images),
        labels=classes,
        drawn_class=drawn_class,
        objects=torch.stack(objects) if objects else None,
    )


def filtered_ahead(batches: Iterator[Batch], patch_filter: PatchFilter) -> Iterator[Batch]:
    """Add filtered channels behind the first one of batches, uint8 on the host, in order.

    The workers are kept busy with the next batches while one is in use.
    """
    waiting: deque[tuple[Batch, Future[UInt8]]] = deque()
    for batch in batches:
        waiting.append((batch, patch_filter.submit(batch.images[:, 0].numpy())))
        # Two batches for each worker: more would hold memory, fewer would let workers wait.
        if len(waiting) > 2 * patch_filter.processes:
            yield _with_channels(*waiting.popleft())
    while waiting:
        yield _with_channels(*waiting.popleft())


def _with_channels(batch: Batch, future: Future[UInt8]) -> Batch:
    images = [torch.from_numpy(channels_of(future)), batch.images[:, 1:]]
    return batch._replace(images=torch.cat(images, 1))


@dataclass(eq=False)
class PatchBatches(IterableDataset[Batch]):
    """The batches of one pass over patches.

    Attributes:
        slices: pixels to cut patches from.
        draw: gives the patches of a pass when it begins.
        size: side of a patch in pixels.
        batches: number of batches.
        patch_filter: filters single patches; None where the slices have their channels.
    """

    slices: SlicePixels
    draw: Callable[[], Patches]
    size: int
    batches: int
    patch_filter: PatchFilter | None

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        patches = self.draw()
        parts = np.array_split(np.arange(len(patches)), self.batches)
        batches: Iterator[Batch] = (
            cut_patches(self.slices, patches.take(part), self.size) for part in parts
        )
        if self.patch_filter is not None:
            batches = filtered_ahead(batches, self.patch_filter)
        for batch in batches:
            # Floats are made a batch at a time: as uint8 all slices take a quarter of the memory.
            yield batch._replace(images=batch.images.float().mul_(1 / 255))
