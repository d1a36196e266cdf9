"""An annotated crop of a large OME-Zarr image by URL: its labels, and the image at their place."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from fibseg.data.public.preparing import PreparedVolume
from fibseg.data.public.sets import PublicCrop
from fibseg.errors import FibsegError
from fibseg.stack import Stack, StackHeader, StackWriter, open_stack
from fibseg.stack.zarr import open_zarr

_LEVELS = 8
"""Levels of a picture that are looked at, s0 to s7: each halves the one before."""

_MOST_VOXELS = 2**30
"""Voxels of the largest crop: a server that says more sends something else."""


def fetch_crop(crop: PublicCrop, target: Path) -> PreparedVolume:
    """Read the labels of a crop, and the part of the image that they cover, and write both.

    Labels may be finer than the image: the level is taken whose voxels are those of the image's
    finest one. The place of the crop follows from the translations of both (NGFF 0.4).

    Args:
        crop: of the record.
        target: folder of the set, which takes a folder for the crop.

    Raises:
        FibsegError: nothing can be reached, no level has the voxels of the image, the crop lies
            outside of it or is too large for one, or a chunk is damaged.
    """
    image = open_stack(f"{crop.image}/s0")
    labels = _level_like(crop, image)
    assert image.voxel_size is not None
    if math.prod(labels.shape) > _MOST_VOXELS:
        raise FibsegError(
            f"{labels.name}: {labels.shape} voxels are more than a crop has; the record is not "
            "what it was."
        )
    start = [
        round((inner - outer) / size)
        for inner, outer, size in zip(
            labels.origin or (0, 0, 0), image.origin or (0, 0, 0), image.voxel_size, strict=True
        )
    ]
    place = tuple(
        slice(first, first + side) for first, side in zip(start, labels.shape, strict=True)
    )
    sides = zip(place, image.shape, strict=True)
    if any(part.start < 0 or part.stop > side for part, side in sides):
        raise FibsegError(
            f"{crop.labels}: {labels.shape} voxels from {start} on leave the image, which has "
            f"{image.shape}; the record is not what it was."
        )
    # Slice by slice, so that a crop need not fit into memory.
    names = {kind: f"{crop.folder}/{kind}.tif" for kind in ("image", "labels")}
    header = StackHeader(labels.shape, str(image.dtype), image.voxel_size)
    with StackWriter(target / names["image"], header) as writer:
        for pixels in open_zarr(f"{crop.image}/s0", place):
            writer.write(pixels)
    with StackWriter(target / names["labels"], replace(header, dtype="uint8")) as writer:
        for values in labels:
            # Numbers of objects in other crops; what is unknown stays.
            writer.write(np.where(values == 255, 255, values != 0).astype(np.uint8))
    return PreparedVolume(
        image=names["image"],
        labels=names["labels"],
        instances=None,
        depth=labels.shape[0],
    )


def _level_like(crop: PublicCrop, image: Stack) -> Stack:
    """Open the level of the labels whose voxel size is that of the image."""
    sizes = []
    for level in range(_LEVELS):
        try:
            labels = open_stack(f"{crop.labels}/s{level}")
        except FibsegError:
            # The first one must be there; after the last one there is nothing.
            if level == 0:
                raise
            break
        if labels.voxel_size is not None and image.voxel_size is not None:
            sizes.append(labels.voxel_size)
            if np.allclose(labels.voxel_size, image.voxel_size, rtol=0.01):
                return labels
    raise FibsegError(
        f"{crop.labels}: voxels of {sizes} nm, but the image has {image.voxel_size}; the record is "
        "not what it was."
    )
