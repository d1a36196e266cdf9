"""A stack written as OME-Zarr (NGFF 0.4) with a pyramid of resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.files import remove
from fibseg.stack.base import StackHeader

_CHUNK_SIDE = 1024
"""Side of the chunks that are written, in pixels."""

_SMALLEST_SIDE = 256
"""A pyramid ends where the longer side of a slice has no more pixels than this."""


_CONFIG = {"write_empty_chunks": True}
"""Background is written too: a chunk that is not there is a chunk that was lost."""


class ZarrOutput:
    """The resolutions of a stack, written slice by slice; see `StackWriter`.

    A coarser resolution keeps every second pixel: a mean of two labels would be a third one.
    """

    def __init__(self, path: Path, header: StackHeader, name: str):
        """Create the store at `path`; `name` is the picture's name in its metadata."""
        create_store(path, header, name)
        write_store_notes(path, header.notes or {})
        self._slices = StoreSlices(path, header)

    def write(self, z: int, pixels: Pixels) -> None:
        """Write slice z, (H, W), to each resolution that has it."""
        self._slices.write(z, pixels)

    def close(self) -> None:
        """Do nothing: each chunk is a file that is closed already."""


def create_store(path: Path, header: StackHeader, name: str) -> None:
    """Create a store at `path` in which every slice is missing, and which has no notes."""
    import zarr

    # NGFF 0.4 is defined on version 2 of Zarr; version 3 came with NGFF 0.5.
    group = zarr.open_group(path, mode="w", zarr_format=2)
    steps = pyramid_steps(header.shape, header.voxel_size or (1, 1, 1))
    for level, step in enumerate(steps):
        _create_level(group, str(level), step, header)
    group.attrs["multiscales"] = [_multiscale(name, header, steps)]


def write_store_notes(path: Path, notes: dict[str, Any]) -> None:
    """Write the notes of a store, which complete it."""
    import zarr

    group = zarr.open_group(path, mode="r+", zarr_format=2)
    if notes:
        group.attrs["fibseg"] = notes
    # Viewers name labels by this metadata (NGFF 0.4, "image-label").
    if "classes" in notes:
        properties = [
            {"label-value": int(value), "class": name} for value, name in notes["classes"].items()
        ]
        group.attrs["image-label"] = {"version": "0.4", "properties": properties}


class StoreSlices:
    """The slices of a store that exists, in every resolution.

    Each chunk holds one slice alone, so that many processes may write slices at once, each its own,
    in any order.
    """

    def __init__(self, path: Path, header: StackHeader):
        """Open the store that `create_store` made for `header`."""
        import zarr

        self._path = path
        self._steps = pyramid_steps(header.shape, header.voxel_size or (1, 1, 1))
        self._levels = [
            zarr.open_array(path / str(level), mode="r+", zarr_format=2, config=_CONFIG)
            for level in range(len(self._steps))
        ]

    def write(self, z: int, pixels: Pixels) -> None:
        """Write slice z, (H, W), to each resolution that has it."""
        for level, (step_z, step_y, step_x) in zip(self._levels, self._steps, strict=True):
            if z % step_z == 0:
                # Every k-th pixel, as `_create_level` counts them.
                level[z // step_z] = pixels[::step_y, ::step_x]

    def read(self, z: int) -> Pixels:
        """Read slice z (H, W), which is written."""
        return np.asarray(self._levels[0][z])

    def has(self, z: int) -> bool:
        """Whether all chunks of slice z are there, in full resolution."""
        rows, columns = self._levels[0].cdata_shape[1:]
        chunks = (self._path / "0" / str(z)).glob("*/*")
        return sum(1 for _ in chunks) == rows * columns

    def clear(self, z: int) -> None:
        """Delete the chunks of slice z, and what a process that was killed left beside them."""
        for level, (step_z, _, _) in enumerate(self._steps):
            if z % step_z == 0:
                # Chunks are files level/z/y/x.
                remove(self._path / str(level) / str(z // step_z))


def zarr_notes(path: Path) -> dict[str, Any] | None:
    """Read the notes of a store that `StackWriter` wrote; None without any."""
    import zarr

    notes = zarr.open_group(path, mode="r").attrs.get("fibseg")
    return dict(notes) if isinstance(notes, dict) else None


def pyramid_steps(
    shape: tuple[int, int, int], voxel_size: Sequence[float]
) -> list[tuple[int, int, int]]:
    """Choose how many voxels (z, y, x) of the stack one voxel of each resolution stands for.

    The sides of a slice are halved each time; z is halved too once voxels would be flat, with z
    less than 1.5 times as long as y and x.

    >>> pyramid_steps((100, 1000, 600), (20, 5, 5))
    [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    """
    steps = [(1, 1, 1)]
    depth, height, width = shape
    size_z, size_y, size_x = voxel_size
    while max(height / steps[-1][1], width / steps[-1][2]) > _SMALLEST_SIDE:
        z, y, x = steps[-1]
        # FIB-SEM slices are thicker than their pixels are wide; z is kept until the pixels catch
        # up.
        halve_z = size_z * z < 1.5 * max(size_y * y, size_x * x) and depth > 2 * z
        steps.append((z * 2 if halve_z else z, 2 * y, 2 * x))
    return steps


def _create_level(group: Any, name: str, step: tuple[int, int, int], header: StackHeader) -> Any:
    """Create the array of one resolution."""
    # Rounded up: every k-th of n voxels, from the first on.
    shape = tuple(-(-side // stride) for side, stride in zip(header.shape, step, strict=True))
    return group.create_array(
        name,
        shape=shape,
        dtype=header.dtype,
        # One slice deep, so that a slice can be written without reading its neighbours.
        chunks=(1, *(min(side, _CHUNK_SIDE) for side in shape[1:])),
        # Chunks in nested folders, as NGFF 0.4 recommends.
        chunk_key_encoding={"name": "v2", "separator": "/"},
        fill_value=0,
        config=_CONFIG,
    )


def _multiscale(name: str, header: StackHeader, steps: list[tuple[int, int, int]]) -> Any:
    """Describe the resolutions as NGFF 0.4 has it, https://ngff.openmicroscopy.org/0.4."""
    unit = {} if header.voxel_size is None else {"unit": "nanometer"}
    size = header.voxel_size or (1, 1, 1)
    scales = [
        [float(length * stride) for length, stride in zip(size, step, strict=True)]
        for step in steps
    ]
    return {
        "version": "0.4",
        "name": name,
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
            for level, scale in enumerate(scales)
        ],
        # How the coarser resolutions were made, in words for people.
        "type": "nearest",
    }
