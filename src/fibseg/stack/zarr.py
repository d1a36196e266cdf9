"""Zarr and OME-Zarr, versions 2 and 3, on a disk or by URL; read chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack
from fibseg.stack.chunked import MEANS_ZERO, ChunkedArray, absence, stack_of_array
from fibseg.stack.failures import damage_named
from fibseg.stack.units import (
    VoxelSize,
    axis_letters,
    lengths_in_nm,
    stated_axes,
    stated_place,
    voxel_size_in_nm,
)

_STORE_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Files by which a folder is known as a Zarr array or group."""

_VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5")
"""Versions of OME-Zarr that are read, and their drafts."""

_URL_KINDS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss")
"""Kinds of URLs; fsspec knows more, which read other files of this machine."""


def is_zarr(path: str) -> bool:
    """Whether a path leads into a Zarr store: a folder on the way is one, or it ends in .zarr."""
    folders = (Path(path), *Path(path).parents)
    return any(_is_store(folder) for folder in folders) or Path(path).suffix.lower() == ".zarr"


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _STORE_FILES)


def picture_folder(path: str) -> Path | None:
    """Find the OME-Zarr picture on a disk that a path leads to or into; None without any."""
    import zarr

    # A picture's resolutions lie one or more folders below it.
    for folder in (Path(path), *Path(path).parents):
        if not _is_store(folder):
            continue
        # What cannot be read or is of another version is no picture that could be named.
        with suppress(FibsegError), damage_named(folder):
            node = zarr.open(_confined(str(folder)), mode="r")
            if isinstance(node, zarr.Group) and _pictures(node):
                return folder
    return None


def picture_attributes(path: str | Path) -> dict[str, Any]:
    """Read the metadata of an OME-Zarr picture, wherever its version puts them.

    Raises:
        FibsegError: there is no such folder, or it is no such picture.
    """
    import zarr

    if not Path(path).is_dir():
        raise FibsegError(f"{path}: no such folder.")
    if _is_store(Path(path)):
        with damage_named(path):
            node = zarr.open(_confined(str(path)), mode="r")
            if isinstance(node, zarr.Group) and _pictures(node):
                return _attributes(node)
    raise FibsegError(
        f"{path}: no OME-Zarr; expected a folder whose .zattrs or zarr.json lists multiscales."
    )


def open_zarr(path: str, box: Sequence[slice] | None = None) -> Stack:
    """Open an array of (z, y, x) or (y, x), or an OME-Zarr picture at its largest resolution.

    Further axes, such as channels and times, must have length 1. Of a `box` (z, y, x) within it,
    each side a slice from start to stop, no chunk is read that lies outside.

    Raises:
        FibsegError: nothing is there, a group holds several arrays, the axes are others, a link
            leaves the store, or the store is damaged.
    """
    array = _array(path)
    return stack_of_array(array if box is None else array.part(box))


def open_channels(path: str | Path, readers: int = 1) -> list[Stack]:
    """Open each channel of a picture as a stack; one without an axis c is a channel itself.

    `readers`: stacks that are read side by side, and share the memory for slices.

    Raises:
        FibsegError: as `open_zarr`.
    """
    array = _array(str(path))
    if "c" not in array.axes:
        return [stack_of_array(array, readers)]
    place = array.axes.index("c")

    def channel(number: int) -> ChunkedArray:
        def read(index: tuple[Any, ...]) -> Pixels:
            return array.read((*index[:place], number, *index[place + 1 :]))

        shape = (*array.shape[:place], 1, *array.shape[place + 1 :])
        return replace(array, name=f"{array.name}, channel {number}", shape=shape, read=read)

    return [stack_of_array(channel(number), readers) for number in range(array.shape[place])]


def _array(path: str) -> ChunkedArray:
    """Open an array, or the largest resolution of a picture, with what is known of it."""
    import zarr

    from fibseg.stack.zarr_chunks import absent_chunks, checked_array

    store = _store(path)
    with damage_named(path):
        node = zarr.open(store, mode="r")
        if isinstance(node, zarr.Group):
            axes, size, origin, name = _largest_resolution(path, node)
            node = node[name]
        else:
            name = ""
            axes, size, origin = _axes_of_array(path, node)
        if isinstance(node, zarr.Group):
            raise FibsegError(f"{path}: a Zarr group and no array; name one in it, as {path}/0.")
        array = checked_array(path, node)
        # NGFF's order of axes: an array without names has the last of them.
        axes = axes or "tczyx"[-len(array.shape) :]
        if size is None:
            size, origin = stated_place(dict(array.attrs), axes)
        absent, total = (0, 0) if "://" in path else absent_chunks(array, Path(path) / name)

    def read(index: tuple[Any, ...]) -> Pixels:
        return np.asarray(array[index])

    return ChunkedArray(
        name=path,
        axes=axes,
        shape=array.shape,
        dtype=np.dtype(array.dtype),
        chunks=array.chunks,
        shards=array.shards,
        read=read,
        voxel_size=size,
        origin=origin,
        doubts=_doubts(path, absent, total, array),
    )


def _doubts(path: str, absent: int, total: int, array: Any) -> tuple[str, ...]:
    """Say that chunks are absent, unless the store says that they mean zero."""
    if not absent or array.attrs.get(MEANS_ZERO):
        return ()
    return (absence(path, absent, total, array.fill_value),)


def _store(path: str) -> Any:
    """Choose the store of a path or URL.

    Raises:
        FibsegError: nothing is there, or the URL is of a kind that is not read.
    """
    if "://" in path:
        kind = path.partition("://")[0].lower()
        if kind not in _URL_KINDS or "::" in path:
            raise FibsegError(
                f"{path}: a URL of the kind {kind}; expected one of {', '.join(_URL_KINDS)}, or a "
                "path."
            )
        return path
    if not Path(path).exists():
        raise FibsegError(f"{path}: no such array in a Zarr store.")
    return _confined(path)


def _confined(path: str) -> Any:
    """Open a folder of a store so that links lead to no files elsewhere."""
    from fibseg.stack.zarr_chunks import confined_store

    folder = Path(path).absolute()
    inside = [part for part in (folder, *folder.parents) if _is_store(part)]
    return confined_store(folder, inside[-1] if inside else folder)


def _axes_of_array(path: str, array: Any) -> tuple[str, VoxelSize | None, VoxelSize | None]:
    """Read axes, voxel size and origin of an array that was named itself.

    They stand in the group above where the array is a resolution of an OME-Zarr picture, else in
    the array's own metadata (Zarr 3) or attributes.
    """
    import zarr

    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        # A resolution's axes stand in the metadata of the group above it.
        store = parent if "://" in parent else _confined(parent)
        pictures = _pictures(zarr.open_group(store, mode="r")) if parent else []
    # There is no group above, or a server does not show it.
    except Exception:
        pictures = []
    for picture in pictures:
        for resolution in picture["datasets"]:
            if resolution["path"] == name:
                return _axes_and_place(picture, resolution)
    names = getattr(array.metadata, "dimension_names", None) or ()
    count = len(array.shape)
    letters = axis_letters(names, count) or stated_axes(dict(array.attrs), count)
    return letters, None, None


def _largest_resolution(
    path: str, group: Any
) -> tuple[str, VoxelSize | None, VoxelSize | None, str]:
    """Read axes, voxel size, origin and name of the largest array of a group (NGFF 0.4, 0.5)."""
    pictures = _pictures(group)
    if pictures:
        # Resolutions are listed from the largest on (NGFF 0.4, "multiscales").
        largest = pictures[0]["datasets"][0]
        return *_axes_and_place(pictures[0], largest), largest["path"]
    arrays = list(group.arrays())
    # A plain group with a single array leaves no doubt about what is meant.
    if len(arrays) == 1:
        name, array = arrays[0]
        return *_axes_of_array(f"{path}/{name}", array), name
    nodes = sorted({*(name for name, _ in arrays), *(name for name, _ in group.groups())})
    raise FibsegError(
        f"{path}: a Zarr group that holds {', '.join(nodes) or 'nothing'}; "
        f"name an array in it, as {path}/0."
    )


def _pictures(group: Any) -> list[Any]:
    """Read the entries "multiscales" of a group: one per OME-Zarr picture."""
    attributes = _attributes(group)
    pictures = list(attributes.get("multiscales") or [])
    # Before 0.5, each picture has a version.
    versions = [attributes.get("version"), *(picture.get("version") for picture in pictures)]
    for version in versions if pictures else ():
        if version is not None and not str(version).startswith(_VERSIONS):
            raise FibsegError(
                f"{group.store_path}: OME-Zarr of version {version}; expected 0.1 to 0.5, or an "
                "array in it, by its name."
            )
    return pictures


def _attributes(group: Any) -> dict[str, Any]:
    """Read the metadata of OME-Zarr of a group, among other attributes before 0.5."""
    attributes = dict(group.attrs)
    # NGFF 0.5 put all its metadata under "ome".
    return dict(attributes.get("ome", attributes))


def _axes_and_place(
    picture: Any, resolution: Any
) -> tuple[str, VoxelSize | None, VoxelSize | None]:
    """Read the letters of the axes, and voxel size and origin where there is a z.

    The transformations of the resolution come first, then those of the picture; each is a scale or
    a translation (NGFF 0.4, "multiscales").
    """
    # NGFF 0.3 named its axes by letters alone.
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in picture.get("axes", [])]
    letters = "".join(axis["name"] for axis in axes).lower()
    transformations = [
        *resolution.get("coordinateTransformations", []),
        *picture.get("coordinateTransformations", []),
    ]
    kinds = {step.get("type") for step in transformations}
    if "scale" not in kinds or not set("zyx") <= set(letters):
        return letters, None, None
    size = np.ones(len(letters))
    origin = np.zeros(len(letters))
    for step in transformations:
        factors = np.array(step.get("scale", size * 0 + 1), float)
        size = size * factors
        origin = origin * factors + np.array(step.get("translation", origin * 0), float)
    positions = [letters.index(axis) for axis in "zyx"]
    units = [axes[position].get("unit", "") for position in positions]
    sizes = voxel_size_in_nm(size[positions].tolist(), units)
    place = lengths_in_nm(origin[positions].tolist(), units)
    return letters, sizes, place if "translation" in kinds else None
