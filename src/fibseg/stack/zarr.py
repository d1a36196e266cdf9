"""Zarr and OME-Zarr, versions 2 and 3, on a disk or by URL; read chunk by chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack
from fibseg.stack.chunked import ChunkedArray, stack_of_array
from fibseg.stack.failures import damage_named
from fibseg.stack.units import VoxelSize, voxel_size_in_nm

_STORE_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Files by which a folder is known as a Zarr array or group."""


def is_zarr(path: str) -> bool:
    """Whether a path leads into a Zarr store: a folder on the way is one, or it ends in .zarr."""
    folders = (Path(path), *Path(path).parents)
    inside = any((folder / name).is_file() for folder in folders for name in _STORE_FILES)
    return inside or Path(path).suffix.lower() == ".zarr"


def open_zarr(path: str) -> Stack:
    """Open an array of (z, y, x) or (y, x), or an OME-Zarr picture at its largest resolution.

    Further axes, such as channels and times, must have length 1.

    Raises:
        FibsegError: nothing is there, a group holds several arrays, the axes are others, or the
            store is damaged.
    """
    import zarr

    if "://" not in path and not Path(path).exists():
        raise FibsegError(f"{path}: no such array in a Zarr store.")
    with damage_named(path):
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Group):
            axes, size, name = _largest_resolution(path, node)
            node = node[name]
        else:
            axes, size = _axes_of_array(path, node)
        if isinstance(node, zarr.Group):
            raise FibsegError(f"{path}: a Zarr group and no array; name one in it, as {path}/0.")
        array = node
        shape = array.shape
        dtype = np.dtype(array.dtype)
        # A shard holds several chunks and is fetched as one.
        chunks = array.shards or array.chunks

    def read(index: tuple[Any, ...]) -> Pixels:
        return np.asarray(array[index])

    return stack_of_array(
        ChunkedArray(
            name=path,
            # NGFF's order of axes: an array without names has the last of them.
            axes=axes or "tczyx"[-len(shape) :],
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            read=read,
            voxel_size=size,
        )
    )


def _axes_of_array(path: str, array: Any) -> tuple[str, VoxelSize | None]:
    """Read axes and voxel size of an array that was named itself.

    They stand in the group above where the array is a resolution of an OME-Zarr picture, else
    Zarr 3 may name the axes in the array's own metadata.
    """
    import zarr

    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        # A resolution's axes stand in the metadata of the group above it.
        pictures = _pictures(zarr.open_group(parent, mode="r")) if parent else []
    # There is no group above, or a server does not show it.
    except Exception:
        pictures = []
    for picture in pictures:
        for resolution in picture["datasets"]:
            if resolution["path"] == name:
                return _axes_and_size(picture, resolution)
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = "".join(str(name)[:1].lower() for name in names)
    # Names that are no axes of a picture, or begin with the same letter, tell nothing.
    known = {"y", "x"} <= set(letters) and len(set(letters)) == len(letters)
    return letters if known else "", None


def _largest_resolution(path: str, group: Any) -> tuple[str, VoxelSize | None, str]:
    """Find axes, voxel size and name of the largest array of a group (NGFF 0.4 and 0.5)."""
    pictures = _pictures(group)
    if pictures:
        # Resolutions are listed from the largest on (NGFF 0.4, "multiscales").
        largest = pictures[0]["datasets"][0]
        return *_axes_and_size(pictures[0], largest), largest["path"]
    arrays = [name for name, _ in group.arrays()]
    # A plain group with a single array leaves no doubt about what is meant.
    if len(arrays) == 1:
        return "", None, arrays[0]
    nodes = sorted({*arrays, *(name for name, _ in group.groups())})
    raise FibsegError(
        f"{path}: a Zarr group that holds {', '.join(nodes) or 'nothing'}; "
        f"name an array in it, as {path}/0."
    )


def _pictures(group: Any) -> list[Any]:
    """Read the entries "multiscales" of a group: one per OME-Zarr picture."""
    attributes = dict(group.attrs)
    # NGFF 0.5 put all its metadata under "ome".
    return list(attributes.get("ome", attributes).get("multiscales") or [])


def _axes_and_size(picture: Any, resolution: Any) -> tuple[str, VoxelSize | None]:
    """Read the letters of the axes, and the voxel size where z has one.

    The scale of the picture and that of the resolution multiply (NGFF 0.4, "multiscales").
    """
    # NGFF 0.3 named its axes by letters alone.
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in picture.get("axes", [])]
    letters = "".join(axis["name"] for axis in axes)
    transformations = [
        *resolution.get("coordinateTransformations", []),
        *picture.get("coordinateTransformations", []),
    ]
    scales = [step["scale"] for step in transformations if step.get("type") == "scale"]
    if not scales or "z" not in letters:
        return letters, None
    scale = np.prod(np.array(scales, float), axis=0)
    positions = [letters.index(axis) for axis in "zyx"]
    sizes = [float(scale[position]) for position in positions]
    return letters, voxel_size_in_nm(sizes, [axes[k].get("unit", "") for k in positions])
