"""Zarr and OME-Zarr, versions 2 and 3, on a disk or by URL; read chunk by chunk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack.base import Slice, Stack, VoxelSize, damage_named, voxel_size

MARKS = ("zarr.json", ".zarray", ".zgroup")
CHUNK = 1024
"""Side of the chunks that are written, in pixels; one slice deep, so that slices are written one by one."""


def is_zarr(path: str) -> bool:
    """Whether a path leads into a Zarr store: some folder on the way is one."""
    return (
        any((folder / mark).is_file() for folder in (Path(path), *Path(path).parents) for mark in MARKS)
        or Path(path).suffix.lower() == ".zarr"
    )


def open_zarr(path: str) -> Stack:
    """An array of (z, y, x) or (y, x), or an OME-Zarr picture, which gives its largest resolution.

    Further axes, as channels and times, must have length 1.
    """
    import zarr

    if "://" not in path and not Path(path).exists():
        raise FibsegError(f"{path}: no such array in a Zarr store.")
    with damage_named(path):
        node = zarr.open(path, mode="r")
        axes, scale = "", None
        if isinstance(node, zarr.Group):
            axes, scale, name = _multiscale(path, node)
            node = node[name]
        if isinstance(node, zarr.Group):
            raise FibsegError(f"{path}: a Zarr group and no array; name one in it, as {path}/0.")
        shape, dtype = node.shape, np.dtype(node.dtype)
    axes = axes or {2: "yx", 3: "zyx"}.get(len(shape), "?")
    order = [axes.find(axis) for axis in "zyx"]
    if len(axes) != len(shape) or min(order[1:]) < 0:
        raise FibsegError(f"{path}: axes {axes} of shape {shape}; expected z, y and x.")
    more = {axis: length for axis, length in zip(axes, shape, strict=True) if axis not in "zyx" and length != 1}
    if more:
        raise FibsegError(f"{path}: several channels or times ({more}); save one of them.")

    def read(z: int) -> Slice:
        index = tuple(z if axis == "z" else slice(None) if axis in "yx" else 0 for axis in axes)
        with damage_named(path, z):
            plane = np.asarray(node[index])
        return plane if order[1] < order[2] else plane.T

    depth = 1 if order[0] < 0 else shape[order[0]]
    return Stack(path, (depth, shape[order[1]], shape[order[2]]), dtype, read, scale)


def _multiscale(path: str, group: Any) -> tuple[str, VoxelSize | None, str]:
    """Axes, voxel size and name of the largest array of an OME-Zarr picture (NGFF 0.4 and 0.5)."""
    told = dict(group.attrs)
    pictures = told.get("ome", told).get("multiscales")
    if not pictures:
        arrays = [name for name, _ in group.arrays()]
        if len(arrays) == 1:
            return "", None, arrays[0]
        inside = ", ".join(sorted({*arrays, *(name for name, _ in group.groups())})) or "nothing"
        raise FibsegError(f"{path}: a Zarr group that holds {inside}; name an array in it, as {path}/0.")
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in pictures[0].get("axes", [])]
    largest = pictures[0]["datasets"][0]
    names = "".join(axis["name"] for axis in axes)
    scales = [one["scale"] for one in largest.get("coordinateTransformations", []) if one.get("type") == "scale"]
    if not scales or "z" not in names:
        return names, None, largest["path"]
    positions = [names.index(axis) for axis in "zyx"]
    sizes, units = [scales[0][k] for k in positions], [axes[k].get("unit", "") for k in positions]
    return names, voxel_size(sizes, units), largest["path"]


class ZarrWriter:
    """Write a stack slice by slice as OME-Zarr (NGFF 0.4, one resolution); it appears under its name only when whole.

    Use as `TiffWriter`: a context whose `write` takes (H, W) slices of `dtype` in order.
    """

    def __init__(self, path: str | Path, shape: tuple[int, int, int], dtype: str, voxel_size: list[float] | None):
        """Voxel size is (z, y, x) in nm; None leaves it out."""
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._voxel_size = voxel_size
        self._written = 0

    def __enter__(self) -> ZarrWriter:
        import zarr

        self.path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(self._partial, mode="w", zarr_format=2)
        self._array = group.create_array(
            "0", shape=self.shape, dtype=self.dtype, chunks=(1, *(min(side, CHUNK) for side in self.shape[1:])),
            chunk_key_encoding={"name": "v2", "separator": "/"}, fill_value=0,
        )  # fmt: skip
        unit = {} if self._voxel_size is None else {"unit": "nanometer"}
        scale: Any = {"type": "scale", "scale": [float(size) for size in self._voxel_size or (1, 1, 1)]}
        picture: Any = [
            {
                "version": "0.4",
                "name": self.path.stem,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ]
        group.attrs["multiscales"] = picture
        return self

    def write(self, pixels: Slice) -> None:
        """Append one (H, W) slice."""
        if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
            raise ValueError(f"slice is {pixels.shape} {pixels.dtype}, expected {self.shape[1:]} {self.dtype}")
        self._array[self._written] = pixels
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._written == self.shape[0]:
            if self.path.exists():
                shutil.rmtree(self.path)
            os.replace(self._partial, self.path)
            return
        shutil.rmtree(self._partial, ignore_errors=True)
        if kind is None:
            raise ValueError(f"{self._written} slices written, expected {self.shape[0]}")
