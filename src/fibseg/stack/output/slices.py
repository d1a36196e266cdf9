"""Slices of OME-Zarr 0.4, each of which lies in chunks of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.files import remove
from fibseg.stack.base import StackHeader
from fibseg.stack.output.ome import level_shape, steps_of

CHUNK_SIDE = 1024
"""Side of the chunks of a slice, and of shards, in pixels."""

WRITTEN: Any = {"write_empty_chunks": True}
"""Background is written too: a chunk that is not there is a chunk that was lost."""


def create_slices(group: Any, header: StackHeader) -> None:
    """Create the arrays of all resolutions in a group of Zarr 2; every slice is missing."""
    for level, step in enumerate(steps_of(header)):
        shape = level_shape(header, step)
        # One slice deep, so that a slice can be written without reading its neighbours.
        chunks = (1, *(min(side, CHUNK_SIDE) for side in shape[1:]))
        group.create_array(
            str(level),
            shape=(*header.channel_sides, *shape),
            dtype=header.dtype,
            chunks=(*(1 for _ in header.channel_sides), *chunks),
            # Chunks in nested folders, as NGFF 0.4 recommends.
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
            config=WRITTEN,
        )


class StoreSlices:
    """The slices of a store of 0.4 that exists, in every resolution.

    Each chunk holds one slice alone, so that many processes may write slices at once, each its own,
    in any order.

    Attributes:
        levels: arrays of Zarr, the full resolution first.
    """

    def __init__(self, path: Path, header: StackHeader):
        """Open the store that `create_store` made for `header`."""
        import zarr

        self._path = path
        self._steps = steps_of(header)
        self._channels = len(header.channels)
        self.levels = [
            zarr.open_array(path / str(level), mode="r+", zarr_format=2).with_config(WRITTEN)
            for level in range(len(self._steps))
        ]

    def write(self, z: int, pixels: Pixels) -> None:
        """Write slice z, (H, W) or (C, H, W) with channels, to each resolution that has it."""
        for level, (step_z, step_y, step_x) in zip(self.levels, self._steps, strict=True):
            if z % step_z == 0:
                # Every k-th pixel, as `level_shape` counts them.
                level[..., z // step_z, :, :] = pixels[..., ::step_y, ::step_x]

    def read(self, z: int) -> Pixels:
        """Read slice z (H, W) or (C, H, W), which is written."""
        return np.asarray(self.levels[0][..., z, :, :])

    def has(self, z: int) -> bool:
        """Whether all chunks of slice z are there, in full resolution."""
        rows, columns = self.levels[0].cdata_shape[-2:]
        count = sum(1 for folder in self._folders(0, z) for _ in folder.glob("*/*"))
        return count == rows * columns * max(1, self._channels)

    def clear(self, z: int) -> None:
        """Delete the chunks of slice z, and what a process that was killed left beside them."""
        for level, (step_z, _, _) in enumerate(self._steps):
            if z % step_z == 0:
                for folder in self._folders(level, z // step_z):
                    remove(folder)

    def _folders(self, level: int, z: int) -> list[Path]:
        """Where chunks lie: level/z/y/x, or level/c/z/y/x with channels."""
        place = self._path / str(level)
        if not self._channels:
            return [place / str(z)]
        return [place / str(channel) / str(z) for channel in range(self._channels)]

    def slab(self, z: int) -> range:
        """The slices that are stored with slice z: itself alone."""
        return range(z, z + 1)

    def pack(self, z: int) -> None:
        """Do nothing: slice z has its place already."""

    def is_packed(self, z: int) -> bool:
        """Whether slice z lies in a shard, which it never does."""
        return False

    def unpack(self, z: int) -> None:
        """Do nothing: slice z can be written at any time."""

    def finish(self) -> None:
        """Do nothing: every slice has its place already."""
