"""Slices of OME-Zarr 0.5, many of which lie in a shard: a file of small chunks and their places.

A shard cannot be written slice by slice. Slices are kept as in 0.4 until those of a slab are there,
and are then packed: each shard is written once, as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.files import partial_path, remove
from fibseg.stack.base import StackHeader
from fibseg.stack.chunked import ChunkLayers
from fibseg.stack.output.ome import level_shape, steps_of
from fibseg.stack.output.slices import CHUNK_SIDE, WRITTEN, StoreSlices, create_slices

SLAB_DEPTH = 32
"""Slices of a slab, whose shards no other slab shares; a power of 2, as the steps along z are."""

_CHUNKS = (16, 128, 128)
"""Sides (z, y, x) of the chunks in a shard: what a viewer fetches of it at a time."""

_KEPT = ".slices"
"""Folder of a store for slices that are in no shard yet; a finished store has none."""


def create_shards(group: Any, header: StackHeader) -> None:
    """Create the arrays of all resolutions in a group of Zarr 3; every slice is missing."""
    for level, step in enumerate(steps_of(header)):
        shape = level_shape(header, step)
        depth, *sides = _CHUNKS
        shard_depth = _shard_depth(step[0])
        shards = [min(CHUNK_SIDE, -(-shape[k + 1] // side) * side) for k, side in enumerate(sides)]
        single = [1 for _ in header.channel_sides]
        group.create_array(
            str(level),
            shape=(*header.channel_sides, *shape),
            dtype=header.dtype,
            chunks=(*single, min(depth, shard_depth), *sides),
            shards=(*single, shard_depth, *shards),
            # NGFF 0.5 asks for the names of the axes here too.
            dimension_names=("c", "z", "y", "x")[-len(single) - 3 :],
            fill_value=0,
            config=WRITTEN,
        )


def create_kept(path: Path, header: StackHeader) -> None:
    """Make the place of slices that are in no shard yet in a store, unless it is there.

    A store has none any more that was finished. No other process may be at work.
    """
    import zarr

    place = path / _KEPT
    if place.exists():
        return
    partial = partial_path(place)
    remove(partial)
    create_slices(zarr.open_group(partial, mode="w", zarr_format=2), header)
    os.replace(partial, place)


def _shard_depth(step: int) -> int:
    """Slices of a shard in a resolution of this step along z, so that it lies in one slab."""
    return max(1, SLAB_DEPTH // step)


class ShardedSlices:
    """The slices of a store of 0.5 that exists, in every resolution.

    Many processes may write slices at once, each its own, in any order. A slab may be packed or
    unpacked by one process at a time, when none writes a slice of it.
    """

    def __init__(self, path: Path, header: StackHeader):
        """Open the store that `create_store` made for `header`."""
        import zarr

        self._path = path
        self._header = header
        self._steps = steps_of(header)
        self._levels = [
            zarr.open_array(path / str(level), mode="r+", zarr_format=3).with_config(WRITTEN)
            for level in range(len(self._steps))
        ]
        self._kept: StoreSlices | None = None
        self._layers = self._new_layers()

    @property
    def _slices(self) -> StoreSlices:
        """The slices that are in no shard."""
        if self._kept is None:
            self._kept = StoreSlices(self._path / _KEPT, self._header)
        return self._kept

    def write(self, z: int, pixels: Pixels) -> None:
        """Keep slice z, (H, W) or (C, H, W) with channels, of a slab that is not packed."""
        self._slices.write(z, pixels)

    def read(self, z: int) -> Pixels:
        """Read slice z (H, W) or (C, H, W), which is written."""
        return self._layers.read_slice(z) if self.is_packed(z) else self._slices.read(z)

    def has(self, z: int) -> bool:
        """Whether slice z is there, in a shard or by itself."""
        return self.is_packed(z) or ((self._path / _KEPT).exists() and self._slices.has(z))

    def clear(self, z: int) -> None:
        """Delete slice z of a slab that is not packed."""
        if (self._path / _KEPT).exists():
            self._slices.clear(z)

    def slab(self, z: int) -> range:
        """The slices of the slab of slice z."""
        start = z // SLAB_DEPTH * SLAB_DEPTH
        return range(start, min(start + SLAB_DEPTH, self._header.shape[0]))

    def is_packed(self, z: int) -> bool:
        """Whether all shards of the slab of slice z are there, in every resolution."""
        for number, level in enumerate(self._levels):
            rows, columns = _shards_across(level)
            for folder in self._folders(number, z):
                # Others are what a process left that was killed while it wrote a shard.
                shards = [place for place in folder.glob("*/*") if place.name.isdecimal()]
                if len(shards) != rows * columns:
                    return False
        return True

    def pack(self, z: int) -> None:
        """Write the shards of the slab of slice z, all of whose slices are there.

        What is in memory at a time is one shard.
        """
        slab = self.slab(z)
        if not self.is_packed(z):
            self._remove_shards(z)
            kept = self._slices
            for level, shards in enumerate(self._levels):
                start, stop = self._range(level, slab)
                if start < stop:
                    _copy(kept.levels[level], shards, shards.shards, start=start, stop=stop)
        # Last of all: until every shard is there, a kill must leave the slices.
        for position in slab:
            self.clear(position)

    def unpack(self, z: int) -> None:
        """Keep the slices of the slab of slice z by themselves again, so that they can be written.

        Does nothing where the slab is not packed. What is in memory at a time is one shard.
        """
        if not self.is_packed(z):
            return
        slab = self.slab(z)
        for level, shards in enumerate(self._levels):
            start, stop = self._range(level, slab)
            if start < stop:
                _copy(shards, self._slices.levels[level], shards.shards, start=start, stop=stop)
        self._remove_shards(z)
        self._layers = self._new_layers()

    def finish(self) -> None:
        """Remove what shards were made of, once every slab is packed."""
        self._kept = None
        remove(self._path / _KEPT)

    def _new_layers(self) -> ChunkLayers:
        """Read slices of shards, a layer of chunks at a time."""
        full = self._levels[0]

        def read_layer(start: int, stop: int) -> Pixels:
            # (C, D, H, W) or (D, H, W) -> the slices first.
            return np.moveaxis(np.asarray(full[..., start:stop, :, :]), -3, 0)

        shape = (self._header.shape[0], *self._header.channel_sides, *self._header.shape[1:])
        return ChunkLayers(read_layer, shape, full.dtype, full.chunks[-3])

    def _range(self, level: int, slab: range) -> tuple[int, int]:
        """The slices of a resolution that are slices of a slab, from start to stop."""
        step = self._steps[level][0]
        return -(-slab.start // step), -(-slab.stop // step)

    def _folders(self, level: int, z: int) -> list[Path]:
        """Where the shards of a slab lie: level/c/z/y/x, or level/c/channel/z/y/x with channels."""
        start, stop = self._range(level, self.slab(z))
        if start == stop:
            return []
        number = str(start // _shard_depth(self._steps[level][0]))
        place = self._path / str(level) / "c"
        channels = [str(channel) for channel in range(len(self._header.channels))]
        return [place / channel / number for channel in channels] or [place / number]

    def _remove_shards(self, z: int) -> None:
        for level in range(len(self._steps)):
            for folder in self._folders(level, z):
                remove(folder)


def _shards_across(array: Any) -> tuple[int, int]:
    """Count the shards of an array along y and x."""
    height, width = array.shape[-2:]
    side_y, side_x = array.shards[-2:]
    return -(-height // side_y), -(-width // side_x)


def _copy(source: Any, target: Any, sides: Any, start: int, stop: int) -> None:
    """Copy slices from start to stop of an array into another, shard by shard of these sides."""
    *channel_sides, _, height, width = source.shape
    side_y, side_x = sides[-2:]
    for channel in np.ndindex(*channel_sides):
        for y in range(0, height, side_y):
            for x in range(0, width, side_x):
                place = (*channel, slice(start, stop), slice(y, y + side_y), slice(x, x + side_x))
                target[place] = source[place]
