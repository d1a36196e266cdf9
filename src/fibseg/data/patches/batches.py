"""The batches of a pass over patches, filtered one by one where the filter asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch.utils.data import IterableDataset

from fibseg.arrays import UInt8
from fibseg.data.patches.pixels import Batch, SlicePixels
from fibseg.data.sampling import Patches
from fibseg.filters.patches import PatchFilter


def filtered_ahead(batches: Iterator[Batch], patch_filter: PatchFilter) -> Iterator[Batch]:
    """Add filtered channels behind the first one of batches, uint8 on the host, in order.

    The threads are kept busy with the next batches while one is in use.
    """
    waiting: deque[tuple[Batch, Future[UInt8]]] = deque()
    for batch in batches:
        waiting.append((batch, patch_filter.submit(batch.images[:, 0].numpy())))
        # Two batches for each thread: more would hold memory, fewer would let threads wait.
        if len(waiting) > 2 * patch_filter.threads:
            yield _with_channels(*waiting.popleft())
    while waiting:
        yield _with_channels(*waiting.popleft())


def _with_channels(batch: Batch, future: Future[UInt8]) -> Batch:
    images = [torch.from_numpy(future.result()), batch.images[:, 1:]]
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
        # All places of a pass are copied to the device at once.
        places = self.slices.places(self.draw(), self.size)
        batches: Iterator[Batch] = (
            self.slices.cut(part, self.size) for part in places.tensor_split(self.batches, dim=1)
        )
        if self.patch_filter is not None:
            batches = filtered_ahead(batches, self.patch_filter)
        for batch in batches:
            # Floats are made a batch at a time: as uint8 all slices take a quarter of the memory.
            yield batch._replace(images=batch.images.float().mul_(1 / 255))
