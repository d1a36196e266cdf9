"""An annotated crop of a large OME-Zarr image by URL: its labels, and the image at their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fibseg.data.public.preparing import PreparedVolume
from fibseg.data.public.sets import PublicCrop
from fibseg.errors import FibsegError
from fibseg.stack import Stack, damage_named, open_stack, write_stack

_LEVELS = 8
"""Levels of a picture that are looked at, s0 to s7: each halves the one before."""


def fetch_crop(crop: PublicCrop, target: Path) -> PreparedVolume:
    """Read the labels of a crop, and the part of the image that they cover, and write both.

    Labels may be finer than the image: the level is taken whose voxels are those of the image's
    finest one. The place of the crop follows from the translations of both (NGFF 0.4).

    Args:
        crop: of the record.
        target: folder of the set, which takes a folder for the crop.

    Raises:
        FibsegError: nothing can be reached, no level has the voxels of the image, or the crop lies
            outside of it.
    """
    import zarr

    image = open_stack(f"{crop.image}/s0")
    labels = _level_like(crop, image)
    assert image.voxel_size is not None
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
    with damage_named(crop.image):
        pixels = np.asarray(zarr.open_array(f"{crop.image}/s0", mode="r")[place])
    write_stack(target / crop.folder / "image.tif", pixels, image.voxel_size)
    values = np.stack([labels.read(z) for z in range(labels.shape[0])])
    # Numbers of objects in other crops; what is unknown stays.
    classes = np.where(values == 255, 255, values != 0).astype(np.uint8)
    write_stack(target / crop.folder / "labels.tif", classes, image.voxel_size)
    return PreparedVolume(
        image=f"{crop.folder}/image.tif",
        labels=f"{crop.folder}/labels.tif",
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
