"""Mini-batches of patches: cut from slices on the training device, and filtered one by one.

Here: what a batch holds, and how it is made of coordinates. Not here: where patches lie
(`fibseg.data.sampling`), how they are changed (`fibseg.data.augmentation`).
"""

from fibseg.data.patches.batches import PatchBatches
from fibseg.data.patches.pixels import Batch, SlicePixels, bytes_of_pixel

__all__ = ["Batch", "PatchBatches", "SlicePixels", "bytes_of_pixel"]
