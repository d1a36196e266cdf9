"""Mini-batches of patches: cut from slices on the training device, and filtered one by one.

Here: what a batch holds, and how it is made of coordinates. Not here: where patches lie
(`fibseg.data.sampling`), how they are changed (`fibseg.data.augmentation`).
"""

from fibseg.data.patches.batches import Batch, PatchBatches, SlicePixels, cut_patches

__all__ = ["Batch", "PatchBatches", "SlicePixels", "cut_patches"]
