"""HDF5: a data set of a file, with ilastik's axis tags and Fiji's voxel sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack.base import Slabs, Slice, Stack, VoxelSize, damage_named, voxel_size


def open_hdf5(path: Path, dataset: str = "") -> Stack:
    """A data set of 2 or 3 dimensions; further axes must have length 1.

    The order of the axes is that of the attribute "axistags" (ilastik's), else z, y, x. Without a name the file must
    hold one data set of 2 or more dimensions.
    """
    import h5py

    with damage_named(path), h5py.File(path, "r") as file:
        name = dataset or _only_dataset(path, file)
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise FibsegError(
                f"{path}: holds no data set {name}; it holds {_listed(_datasets(file))}."
            )
        found = file[name]
        axes, shape, dtype, chunks = _axes(found), found.shape, found.dtype, found.chunks
        size = _voxel_size(found)
    where = f"{path}:{name}"
    order = [axes.find(axis) for axis in "zyx"]
    if len(axes) != len(shape) or min(order[1:]) < 0 or dtype.kind == "O":
        raise FibsegError(
            f"{where}: axes {axes or '(unknown)'} of shape {shape}; expected z, y and x."
        )
    more = {
        axis: length
        for axis, length in zip(axes, shape, strict=True)
        if axis not in "zyx" and length != 1
    }
    if more:
        raise FibsegError(f"{where}: several channels or times ({more}); save one of them.")
    depth = 1 if order[0] < 0 else shape[order[0]]

    shape_zyx = (depth, shape[order[1]], shape[order[2]])
    kept = [axis for axis in axes if axis in "zyx"]

    def read(start: int, stop: int) -> Slice:
        index = tuple(
            slice(start, stop) if axis == "z" else slice(None) if axis in "yx" else 0
            for axis in axes
        )
        with damage_named(where, start), h5py.File(path, "r") as file:
            slab = np.asarray(file[name][index])
        return (
            slab.transpose([kept.index(axis) for axis in "zyx"])
            if depth_axis
            else _yx(slab, kept)[None]
        )

    depth_axis = order[0] >= 0
    chunk = chunks[order[0]] if chunks and depth_axis else 1
    return Stack(where, shape_zyx, np.dtype(dtype), Slabs(read, shape_zyx, dtype, chunk).read, size)


def _yx(plane: Slice, axes: list[str]) -> Slice:
    return plane if axes.index("y") < axes.index("x") else plane.T


def _datasets(file: Any) -> list[str]:
    """Names of those that may be a stack."""
    import h5py

    names: list[str] = []
    file.visititems(
        lambda name, one: (
            names.append(f"/{name}") if isinstance(one, h5py.Dataset) and one.ndim >= 2 else None
        )
    )
    return names


def _only_dataset(path: Path, file: Any) -> str:
    names = _datasets(file)
    if len(names) != 1:
        raise FibsegError(f"{path}: holds {_listed(names)}; name one of them: {path}:/NAME.")
    return names[0]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
    return shown or "no data set of two or more dimensions"


def _axes(dataset: Any) -> str:
    """One letter per axis; empty where nothing tells."""
    if "axistags" in dataset.attrs:
        tags = json.loads(dataset.attrs["axistags"])
        return "".join(str(tag["key"]) for tag in tags["axes"])
    if dataset.ndim == 4:
        return "zyxc" if dataset.shape[-1] == 1 else "czyx"
    return {2: "yx", 3: "zyx"}.get(dataset.ndim, "")


def _voxel_size(dataset: Any) -> VoxelSize | None:
    """From "element_size_um" (z, y, x), as Fiji's HDF5 plugin and others write it."""
    if "element_size_um" not in dataset.attrs:
        return None
    return voxel_size(np.ravel(dataset.attrs["element_size_um"]).tolist(), ["um"] * 3)
