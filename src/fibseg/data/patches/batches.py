"""The batches of a pass over patches, filtered one by one where the filter asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import IterableDataset

from fibseg.data.patches.pixels import Batch, SlicePixels
from fibseg.data.sampling import Patches
from fibseg.filters.patches import PatchFilter, prefetched


def filtered_ahead(batches: Iterator[Batch], patch_filter: PatchFilter) -> Iterator[Batch]:
    """Add filtered channels behind the first one of batches, uint8 on the host, in order."""

    def begin(batch: Batch) -> Callable[[], Batch]:
        future = patch_filter.submit(batch.images[:, 0].numpy())

        def finish() -> Batch:
            images = [torch.from_numpy(future.result()), batch.images[:, 1:]]
            return batch._replace(images=torch.cat(images, 1))

        return finish

    # Two batches for each thread: more would hold memory, fewer would let threads wait.
    return prefetched(batches, begin, 2 * patch_filter.threads)


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
