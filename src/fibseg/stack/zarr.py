"""Zarr and OME-Zarr, versions 2 and 3, on a disk or by URL; read chunk by chunk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.files import partial_path
from fibseg.stack.base import Slabs, Slice, Stack, VoxelSize, damage_named, voxel_size

MARKS = ("zarr.json", ".zarray", ".zgroup")
CHUNK = 1024
"""Side of the chunks that are written, in pixels; one slice deep, so that slices are written one by one."""


def is_zarr(path: str) -> bool:
    """Whether a path leads into a Zarr store: some folder on the way is one."""
    return (
        any(
            (folder / mark).is_file()
            for folder in (Path(path), *Path(path).parents)
            for mark in MARKS
        )
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
        axes, size = "", None
        if isinstance(node, zarr.Group):
            axes, size, name = _multiscale(path, node)
            node = node[name]
        else:
            axes, size = _told_by_parent(path, node)
        if isinstance(node, zarr.Group):
            raise FibsegError(f"{path}: a Zarr group and no array; name one in it, as {path}/0.")
        shape, dtype = node.shape, np.dtype(node.dtype)
    axes = axes or "tczyx"[-len(shape) :]
    order = [axes.find(axis) for axis in "zyx"]
    if len(axes) != len(shape) or min(order[1:]) < 0:
        raise FibsegError(f"{path}: axes {axes} of shape {shape}; expected z, y and x.")
    more = {
        axis: length
        for axis, length in zip(axes, shape, strict=True)
        if axis not in "zyx" and length != 1
    }
    if more:
        raise FibsegError(f"{path}: several channels or times ({more}); save one of them.")
    kept = [axis for axis in axes if axis in "zyx"]

    def read(start: int, stop: int) -> Slice:
        index = tuple(
            slice(start, stop) if axis == "z" else slice(None) if axis in "yx" else 0
            for axis in axes
        )
        with damage_named(path, start):
            slab = np.asarray(node[index])
        return slab.transpose(
            [kept.index(axis) for axis in ("zyx" if order[0] >= 0 else "yx")]
        ).reshape(-1, *shape_zyx[1:])

    depth = 1 if order[0] < 0 else shape[order[0]]
    shape_zyx = (depth, shape[order[1]], shape[order[2]])
    chunks = getattr(node, "shards", None) or node.chunks
    chunk = chunks[order[0]] if order[0] >= 0 else 1
    return Stack(path, shape_zyx, dtype, Slabs(read, shape_zyx, dtype, chunk).read, size)


def _told_by_parent(path: str, node: Any) -> tuple[str, VoxelSize | None]:
    """Axes and voxel size of an array: of the OME-Zarr picture that it is a resolution of, or its own axis names."""
    import zarr

    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        pictures = _pictures(zarr.open_group(parent, mode="r")) if parent else []
    except Exception:  # no group there, or one that a server does not show
        pictures = []
    for picture in pictures:
        for one in picture["datasets"]:
            if one["path"] == name:
                return _axes_and_size(picture, one)
    names = getattr(node.metadata, "dimension_names", None) or ()
    letters = "".join(str(one)[:1].lower() for one in names)
    return (
        letters if {"y", "x"} <= set(letters) and len(set(letters)) == len(letters) else ""
    ), None


def _multiscale(path: str, group: Any) -> tuple[str, VoxelSize | None, str]:
    """Axes, voxel size and name of the largest array of an OME-Zarr picture (NGFF 0.4 and 0.5)."""
    pictures = _pictures(group)
    if not pictures:
        arrays = [name for name, _ in group.arrays()]
        if len(arrays) == 1:
            return "", None, arrays[0]
        inside = ", ".join(sorted({*arrays, *(name for name, _ in group.groups())})) or "nothing"
        raise FibsegError(
            f"{path}: a Zarr group that holds {inside}; name an array in it, as {path}/0."
        )
    largest = pictures[0]["datasets"][0]
    return *_axes_and_size(pictures[0], largest), largest["path"]


def _pictures(group: Any) -> list[Any]:
    told = dict(group.attrs)
    return list(told.get("ome", told).get("multiscales") or [])


def _axes_and_size(picture: Any, dataset: Any) -> tuple[str, VoxelSize | None]:
    """Letters of the axes, and the voxel size where z has one; scales of the picture and the resolution multiply."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in picture.get("axes", [])]
    names = "".join(axis["name"] for axis in axes)
    steps = [
        *dataset.get("coordinateTransformations", []),
        *picture.get("coordinateTransformations", []),
    ]
    scales = [one["scale"] for one in steps if one.get("type") == "scale"]
    if not scales or "z" not in names:
        return names, None
    scale = np.prod(np.array(scales, float), axis=0)
    positions = [names.index(axis) for axis in "zyx"]
    return names, voxel_size(
        [float(scale[k]) for k in positions], [axes[k].get("unit", "") for k in positions]
    )


SMALLEST = 256
"""A pyramid ends where the longer side of a slice is no more than this."""


def zarr_notes(path: Path) -> dict[str, Any] | None:
    """Notes of a store that `ZarrWriter` wrote; None without any."""
    import zarr

    told = zarr.open_group(path, mode="r").attrs.get("fibseg")
    return dict(told) if isinstance(told, dict) else None


def pyramid(shape: tuple[int, int, int], size: Sequence[float]) -> list[tuple[int, int, int]]:
    """Steps (z, y, x) of each resolution: sides are halved, and z too once its voxels are no longer than the others.

    >>> pyramid((100, 1000, 600), (20, 5, 5))
    [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    """
    steps = [(1, 1, 1)]
    while max(shape[1] / steps[-1][1], shape[2] / steps[-1][2]) > SMALLEST:
        z, y, x = steps[-1]
        deep = size[0] * z < 1.5 * max(size[1] * y, size[2] * x) and shape[0] > 2 * z
        steps.append((z * 2 if deep else z, 2 * y, 2 * x))
    return steps


class ZarrWriter:
    """Write a stack slice by slice as OME-Zarr (NGFF 0.4); it appears under its name only when whole.

    A pyramid of resolutions keeps every second pixel, as labels want it. Use as `TiffWriter`: a context whose `write`
    takes (H, W) slices of `dtype` in order.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, int, int],
        dtype: str,
        voxel_size: list[float] | None,
        notes: dict[str, Any] | None = None,
    ):
        """Voxel size is (z, y, x) in nm; None leaves it out. Notes become attributes."""
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self._partial = partial_path(self.path, shared=True)
        self._voxel_size, self._notes = voxel_size, notes or {}
        self._steps = pyramid(shape, voxel_size or (1, 1, 1))
        self._written = 0

    def __enter__(self) -> ZarrWriter:
        import zarr

        self.path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(self._partial, mode="w", zarr_format=2)
        self._arrays = [self._level(group, str(k), step) for k, step in enumerate(self._steps)]
        unit = {} if self._voxel_size is None else {"unit": "nanometer"}
        size = self._voxel_size or (1, 1, 1)
        levels: list[Any] = [
            {
                "path": str(k),
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [float(a * b) for a, b in zip(size, step, strict=True)],
                    }
                ],
            }
            for k, step in enumerate(self._steps)
        ]
        picture: Any = {
            "version": "0.4",
            "name": self.path.stem,
            "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
            "datasets": levels,
            "type": "nearest",
        }
        group.attrs["multiscales"] = [picture]
        if self._notes:
            group.attrs["fibseg"] = self._notes
        if "classes" in self._notes:
            named = [
                {"label-value": int(value), "class": name}
                for value, name in self._notes["classes"].items()
            ]
            group.attrs["image-label"] = {"version": "0.4", "properties": named}
        return self

    def _level(self, group: Any, name: str, step: tuple[int, int, int]) -> Any:
        shape = tuple(-(-side // one) for side, one in zip(self.shape, step, strict=True))
        return group.create_array(
            name,
            shape=shape,
            dtype=self.dtype,
            chunks=(1, *(min(side, CHUNK) for side in shape[1:])),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
        )

    def write(self, pixels: Slice) -> None:
        """Append one (H, W) slice."""
        if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
            raise ValueError(
                f"slice is {pixels.shape} {pixels.dtype}, expected {self.shape[1:]} {self.dtype}"
            )
        for array, (z, y, x) in zip(self._arrays, self._steps, strict=True):
            if self._written % z == 0:
                array[self._written // z] = pixels[::y, ::x]
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._written == self.shape[0]:
            old = self._partial.with_name(
                f"{self._partial.name.removesuffix('.partial')}.old.partial"
            )
            if self.path.exists():
                os.replace(self.path, old)  # whole, in case of a kill
            os.replace(self._partial, self.path)
            shutil.rmtree(old, ignore_errors=True)
            return
        shutil.rmtree(self._partial, ignore_errors=True)
        if kind is None:
            raise ValueError(f"{self._written} slices written, expected {self.shape[0]}")
