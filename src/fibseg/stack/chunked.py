"""Chunked arrays with named axes, as HDF5 and Zarr store them, read as stacks of slices."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, check_memory
from fibseg.stack.failures import damage_named
from fibseg.stack.units import VoxelSize

_LAYER_BYTES = 2**29
"""Most bytes of slices that are kept in memory at once."""

MEANS_ZERO = "absent_chunks_mean_zero"
"""Attribute of an array whose absent chunks were never touched, as labels that a person paints."""


@dataclass(frozen=True)
class ChunkedArray:
    """An array of any number of axes in a file, of which boxes can be read.

    Attributes:
        name: the file and the array in it, for messages.
        axes: one letter per axis, in the order of the file; empty where the file does not tell.
        shape: length of each axis.
        dtype: type of the values.
        chunks: length of a chunk along each axis; None where the array is stored in one piece.
        shards: length of a shard along each axis, a file of several chunks that can be read one by
            one; None where each chunk is a file.
        read: a function from an index, one slice or 0 per axis, to the values there.
        voxel_size: (z, y, x) in nm, None where the file does not state it.
        origin: (z, y, x) in nm of the first voxel, None where the file does not state it.
        doubts: what is odd, as sentences.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    read: Callable[[tuple[Any, ...]], Pixels]
    voxel_size: VoxelSize | None
    origin: VoxelSize | None = None
    doubts: tuple[str, ...] = ()
    shards: tuple[int, ...] | None = None

    def part(self, box: Sequence[slice]) -> ChunkedArray:
        """Cut a box (z, y, x) out, each side a slice from start to stop within the array.

        Reading it reads no chunk that lies outside. Its origin is not known.
        """
        positions = {
            axis: range(side.start, side.stop) for axis, side in zip("zyx", box, strict=True)
        }

        def read(index: tuple[Any, ...]) -> Pixels:
            moved = []
            for axis, place in zip(self.axes, index, strict=True):
                # Axes of length 1 are read at 0.
                chosen = positions[axis][place] if axis in positions else place
                is_range = isinstance(chosen, range)
                moved.append(slice(chosen.start, chosen.stop) if is_range else chosen)
            return self.read(tuple(moved))

        lengths = {axis: len(places) for axis, places in positions.items()}
        sides = zip(self.axes, self.shape, strict=True)
        shape = tuple(lengths.get(axis, length) for axis, length in sides)
        return replace(self, shape=shape, read=read, origin=None)


def stack_of_array(array: ChunkedArray, readers: int = 1) -> Stack:
    """Read a chunked array as a stack: y and x in any order, z where there is one.

    `readers`: stacks that are read side by side, and share the memory for slices.

    Raises:
        FibsegError: an axis is missing, or an axis other than z, y and x is longer than 1.
    """
    _check_axes(array)
    # A chunk is unpacked as a whole, however few of its slices are read.
    size = math.prod(array.chunks or (0,)) * array.dtype.itemsize
    check_memory(array.name, size + _index_bytes(array), "a chunk")
    length = dict(zip(array.axes, array.shape, strict=True))
    shape = (length.get("z", 1), length["y"], length["x"])
    spatial = [axis for axis in array.axes if axis in "zyx"]
    # The file's axes may stand in any order, as x, y, z in Fortran's.
    order = [spatial.index(axis) for axis in "zyx" if axis in spatial]

    def read_layer(start: int, stop: int) -> Pixels:
        ranges = {"z": slice(start, stop), "y": slice(None), "x": slice(None)}
        with damage_named(array.name, start):
            layer = array.read(tuple(ranges.get(axis, 0) for axis in array.axes))
        # (D, H, W); the reshape adds z where the file has none.
        return layer.transpose(order).reshape(-1, *shape[1:])

    depths = (sides[array.axes.index("z")] for sides in (array.chunks, array.shards) if sides)
    chunk_depth, shard_depth = (*depths, 1, 1)[:2] if "z" in array.axes else (1, 1)
    layers = ChunkLayers(
        read_layer,
        shape,
        array.dtype,
        chunk_depth=chunk_depth,
        shard_depth=shard_depth,
        readers=readers,
    )
    return Stack(
        name=array.name,
        shape=shape,
        dtype=array.dtype,
        read=layers.read_slice,
        voxel_size=array.voxel_size,
        origin=array.origin,
        doubts=array.doubts,
        layer=layers.step,
    )


def _index_bytes(array: ChunkedArray) -> int:
    """Bytes of the list of chunks that a shard holds: each has a place and a length."""
    if array.shards is None or array.chunks is None:
        return 0
    counts = (-(-shard // chunk) for shard, chunk in zip(array.shards, array.chunks, strict=True))
    return 16 * math.prod(counts)


def absence(name: str, absent: int, total: int, fill: object) -> str:
    """Say that chunks are not stored, and what is read in their place."""
    return (
        f"{name}: {absent} of {total} chunks are not stored, and read as {fill}; they were never "
        "written (as is usual where labels are empty), or are lost."
    )


def _check_axes(array: ChunkedArray) -> None:
    """Raise a FibsegError unless the axes are y, x, perhaps z, and others of length 1."""
    # y and x once each, and z at most once.
    counts = [array.axes.count(axis) for axis in "zyx"]
    if len(array.axes) != len(array.shape) or counts not in ([0, 1, 1], [1, 1, 1]):
        raise FibsegError(
            f"{array.name}: axes {array.axes or '(unknown)'} of shape {tuple(array.shape)}; "
            "expected z, y and x."
        )
    longer = {
        axis: length
        for axis, length in zip(array.axes, array.shape, strict=True)
        if axis not in "zyx" and length != 1
    }
    if longer:
        raise FibsegError(f"{array.name}: several channels or times ({longer}); save one of them.")


def _layer_depth(most: int, chunk_depth: int, shard_depth: int) -> int:
    """Choose how many slices are read together, `most` of which may be kept.

    A shard is read at once where that fits. Else layers of its chunks are, none of which is decoded
    twice. Where even these exceed the limit, fewer slices are kept, and chunks are decoded again.

    >>> _layer_depth(100, 16, 64), _layer_depth(50, 16, 64), _layer_depth(10, 16, 64)
    (64, 48, 10)
    """
    deepest = max(chunk_depth, shard_depth)
    return deepest if deepest <= most else max(1, most // chunk_depth * chunk_depth or most)


class ChunkLayers:
    """Slices of one layer of chunks, read together and kept until another layer is asked for.

    A chunk is decoded as a whole: without this, each slice of a chunk that is n slices deep would
    decode it again, n times in all.

    Attributes:
        step: slices of a layer that are kept.
    """

    def __init__(
        self,
        read_layer: Callable[[int, int], Pixels],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        chunk_depth: int = 1,
        shard_depth: int = 1,
        readers: int = 1,
    ):
        """Read nothing yet.

        Args:
            read_layer: reads the slices from start to stop as an array (stop - start, H, W).
            shape: of all slices, their number first.
            dtype: of a pixel.
            chunk_depth: slices that are decoded together.
            shard_depth: slices that lie in one file.
            readers: as in `stack_of_array`.
        """
        slice_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
        self._read_layer = read_layer
        self._depth = shape[0]
        self.step = _layer_depth(_LAYER_BYTES // readers // slice_bytes, chunk_depth, shard_depth)
        self._start = -1
        self._layer: Pixels = np.empty(0)
        # Slices are read by several threads, which must not replace the layer of one another.
        self._lock = threading.Lock()

    def read_slice(self, z: int) -> Pixels:
        """Read one slice (H, W)."""
        with self._lock:
            start = z // self.step * self.step
            if start != self._start:
                # Unset first: after an error in the read no stale layer is taken for this one.
                self._start = -1
                self._layer = self._read_layer(start, min(start + self.step, self._depth))
                self._start = start
            # A copy: a view would keep the layer in memory for as long as the slice.
            return np.array(self._layer[z - start])
