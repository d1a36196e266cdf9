"""HDF5: a data set of a file, with ilastik's axis tags and Fiji's voxel sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack
from fibseg.stack.chunked import ChunkedArray, stack_of_array
from fibseg.stack.failures import damage_named
from fibseg.stack.units import VoxelSize, voxel_size_in_nm


def open_hdf5(path: Path, dataset: str = "") -> Stack:
    """Open a data set of two or three dimensions; further axes must have length 1.

    The order of the axes is that of the attribute "axistags" (ilastik's), else z, y, x. Without a
    name the file must hold exactly one data set of two or more dimensions.

    Raises:
        FibsegError: the data set is missing, not unique or of other axes, or the file is damaged.
    """
    import h5py

    with damage_named(path), h5py.File(path, "r") as file:
        name = dataset or _only_dataset(path, file)
        # A name may also lead to a group.
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise FibsegError(
                f"{path}: holds no data set {name}; it holds {_listed(_datasets(file))}."
            )
        values = file[name]
        axes = _axes(values)
        shape = values.shape
        dtype = np.dtype(values.dtype)
        chunks = values.chunks
        size = _voxel_size(values)

    def read(index: tuple[Any, ...]) -> Pixels:
        # Opened for each read: HDF5 locks a file against writers for as long as it is open.
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][index])

    return stack_of_array(
        ChunkedArray(
            name=f"{path}:{name}",
            axes=axes,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            read=read,
            voxel_size=size,
        )
    )


def _datasets(file: Any) -> list[str]:
    """List the data sets that can be a stack."""
    import h5py

    names: list[str] = []

    def add_name(name: str, node: Any) -> None:
        # Numbers and vectors beside an image are its metadata.
        if isinstance(node, h5py.Dataset) and node.ndim >= 2:
            names.append(f"/{name}")

    file.visititems(add_name)
    return names


def _only_dataset(path: Path, file: Any) -> str:
    """Name the only data set that can be a stack; FibsegError where it is not unique."""
    names = _datasets(file)
    if len(names) != 1:
        raise FibsegError(f"{path}: holds {_listed(names)}; name one of them: {path}:/NAME.")
    return names[0]


def _listed(names: list[str]) -> str:
    """Write names for a message, eight at most."""
    listing = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
    return listing or "no data set of two or more dimensions"


def _axes(dataset: Any) -> str:
    """Read one letter per axis; empty where nothing in the file tells the axes."""
    if "axistags" in dataset.attrs:
        # JSON of vigra's AxisTags, the library of ilastik's arrays: an entry per axis in the file's
        # order.
        tags = json.loads(dataset.attrs["axistags"])
        return "".join(str(tag["key"]) for tag in tags["axes"])
    if dataset.ndim == 4:
        # Both orders of a single channel are common; the axis of length 1 is the channel.
        return "zyxc" if dataset.shape[-1] == 1 else "czyx"
    return {2: "yx", 3: "zyx"}.get(dataset.ndim, "")


def _voxel_size(dataset: Any) -> VoxelSize | None:
    """Read "element_size_um" (z, y, x), as Fiji's HDF5 plugin and others write it."""
    if "element_size_um" not in dataset.attrs:
        return None
    # Another number of sizes than three is unknown, not an error: the pixels can still be read.
    sizes = np.ravel(dataset.attrs["element_size_um"]).tolist()
    return voxel_size_in_nm(sizes, ["um"] * 3)
