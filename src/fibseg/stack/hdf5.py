"""HDF5: a data set of a file, with the axes, units and types that its programs state."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack
from fibseg.stack.chunked import ChunkedArray, absence, stack_of_array
from fibseg.stack.failures import damage_named
from fibseg.stack.units import axis_letters, stated_axes, stated_place

_FILTERS = {
    4: "szip",
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}
"""Number of a filter that h5py may lack -> its name (https://github.com/HDFGroup/hdf5_plugins)."""

_MOST_SEARCHED = 2**30
"""Bytes of a file in which heaps are sought: they lie near its begin, before most pixels."""

_MOST_LINKED = 8
"""Files that a virtual data set may lead through, each to the next."""


def open_hdf5(path: Path, dataset: str = "") -> Stack:
    """Open a data set of two or three dimensions; further axes must have length 1.

    The order of the axes is that of ilastik's "axistags", of dimension labels or scales, or of
    attributes, else z, y, x. Without a name the file must hold exactly one data set that can be a
    stack.

    Raises:
        FibsegError: the data set is missing, not unique, of other axes, packed by a filter that is
            not installed, or kept outside the file's folder; or the file is damaged.
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
        _check_storage(path, values)
        _check_filters(path, values)
        attributes = _attributes(path, values)
        axes = _axes(values, attributes)
        size, origin = stated_place(attributes, axes)
        array = ChunkedArray(
            name=f"{path}:{name}",
            axes=axes,
            shape=values.shape,
            dtype=_pixel_type(values),
            chunks=values.chunks,
            read=_reader(path, name, _pixel_type(values)),
            voxel_size=size,
            origin=origin,
            doubts=_storage_doubts(f"{path}:{name}", values),
        )
    return stack_of_array(array)


def _reader(path: Path, name: str, dtype: np.dtype[Any]) -> Callable[[tuple[Any, ...]], Pixels]:
    import h5py

    def read(index: tuple[Any, ...]) -> Pixels:
        # Opened for each read: HDF5 locks a file against writers for as long as it is open.
        with h5py.File(path, "r") as file:
            values = np.asarray(file[name][index])
        # A view: the bytes are the same where a program writes them under another type.
        return values if values.dtype == dtype else values.view(dtype)

    return read


def _attributes(path: Path, dataset: Any) -> dict[str, Any]:
    """Read all attributes.

    Raises:
        ValueError: what holds their texts is damaged.
    """
    import h5py

    names = list(dataset.attrs)
    # Texts of any length lie in heaps of their own; HDF5 reads a damaged heap for ever.
    if any(h5py.check_string_dtype(dataset.attrs.get_id(name).dtype) for name in names):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
            _check_heaps(content)
    return {name: dataset.attrs[name] for name in names}


def _check_heaps(content: mmap.mmap) -> None:
    """Raise a ValueError where an object in a heap of texts has no size, or leaves the heap."""
    start = content.find(b"GCOL\x01\0\0\0", 0, _MOST_SEARCHED)
    while start >= 0:
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        place = start + 16
        # An object has 16 bytes of its own, its text is filled up to a multiple of 8, and object 0
        # is what is left of the heap (HDF5 File Format Specification, III.E).
        while place + 16 <= end <= len(content):
            index = int.from_bytes(content[place : place + 2], "little")
            size = int.from_bytes(content[place + 8 : place + 16], "little")
            step = size if index == 0 else 16 + -(-size // 8) * 8
            if step == 0 or place + step > end:
                raise ValueError("the heap of its texts is damaged")
            place += step
        start = content.find(b"GCOL\x01\0\0\0", start + 16, _MOST_SEARCHED)


def _datasets(file: Any) -> list[str]:
    """List the data sets that can be a stack."""
    import h5py

    names: list[str] = []

    def add_name(name: str, node: Any) -> None:
        # Numbers and vectors beside an image are its metadata, and so are BigDataViewer's tables.
        table = re.fullmatch(r"s\d\d/(resolutions|subdivisions)", name)
        if isinstance(node, h5py.Dataset) and node.ndim >= 2 and table is None:
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


def _axes(dataset: Any, attributes: dict[str, Any]) -> str:
    """Read one letter per axis; the usual order where nothing in the file tells them."""
    if "axistags" in attributes:
        # JSON of vigra's AxisTags, the library of ilastik's arrays: an entry per axis in the file's
        # order.
        tags = json.loads(attributes["axistags"])
        return "".join(str(tag["key"]) for tag in tags["axes"])
    count = dataset.ndim
    labels = [dimension.label for dimension in dataset.dims]
    # A scale is a data set of its own, named like the axis that it belongs to.
    scales = [(dimension.keys() or [""])[0].rpartition("/")[2] for dimension in dataset.dims]
    stated = axis_letters(labels, count) or axis_letters(scales, count)
    if stated := stated or stated_axes(attributes, count):
        return stated
    if count == 4:
        # Both orders of a single channel are common; the axis of length 1 is the channel.
        return "zyxc" if dataset.shape[-1] == 1 else "czyx"
    return {2: "yx", 3: "zyx"}.get(count, "")


def _pixel_type(dataset: Any) -> np.dtype[Any]:
    """Read the type of the values, which BigDataViewer writes as int16 and means as uint16."""
    dtype: np.dtype[Any] = np.dtype(dataset.dtype)
    match = re.fullmatch(r"/?t\d{5}/(s\d\d)/\d+/cells", dataset.name)
    if match is None or dtype != np.int16:
        return dtype
    setup = dataset.file.get(match[1])
    stated = setup.attrs.get("dataType", "uint16") if setup is not None else "uint16"
    return dtype if str(stated) == "int16" else np.dtype(np.uint16)


def _check_filters(path: Path, dataset: Any) -> None:
    """Raise a FibsegError where a filter that packed the data set is not installed."""
    import h5py

    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        return
    # The package registers its filters when it is imported.
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401
    for code, _, _, label in filters:
        if not h5py.h5z.filter_avail(code):
            known = _FILTERS.get(code) or label.decode(errors="replace") or "an unknown filter"
            raise FibsegError(
                f"{path}: {dataset.name} is compressed by {known} (filter {code}), which h5py "
                "cannot read here; pip install hdf5plugin, or save it with gzip."
            )


def _check_storage(path: Path, dataset: Any, linked: int = 0) -> None:
    """Raise a FibsegError where pixels lie outside the folder of a file, or in a missing file.

    HDF5 would read any file of the machine as pixels, and a missing one as zeros.
    """
    import h5py

    # An external link on the way has opened another file already.
    _check_place(path, Path(dataset.file.filename))
    for name, _, _ in dataset.external or ():
        # HDF5 takes such names relative to the folder that the program runs in.
        _check_place(path, Path(name))
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        if source.file_name == ".":
            continue
        file = Path(dataset.file.filename).parent / source.file_name
        _check_place(path, file)
        if linked == _MOST_LINKED:
            raise FibsegError(f"{path}: {dataset.name} leads through too many files; save it anew.")
        with h5py.File(file, "r") as other:
            if other.get(source.dset_name) is None:
                raise FibsegError(f"{path}: its part {source.dset_name} of {file} is not there.")
            _check_storage(path, other[source.dset_name], linked + 1)


def _check_place(path: Path, file: Path) -> None:
    folder = path.resolve().parent
    if not file.resolve().is_relative_to(folder):
        raise FibsegError(
            f"{path}: its pixels lie in {file}, outside the folder {folder}; copy them into a file "
            "there, for example with h5repack, or move both files into one folder."
        )
    if not file.is_file():
        raise FibsegError(f"{path}: its pixels lie in {file}, which is not there; put it there.")


def _storage_doubts(name: str, dataset: Any) -> tuple[str, ...]:
    """Say that pixels were never written.

    Raises:
        ValueError: what is stored contradicts the data set.
    """
    if dataset.chunks is not None:
        sides = zip(dataset.shape, dataset.chunks, strict=True)
        total = math.prod(-(-length // side) for length, side in sides)
        absent = total - _count_chunks(dataset)
        return (absence(name, absent, total, dataset.fillvalue),) if absent else ()
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if stored >= size or dataset.is_virtual or dataset.external:
        return ()
    if stored:
        raise ValueError(f"{stored} bytes are stored of {size}")
    return (absence(name, 1, 1, dataset.fillvalue),)


def _count_chunks(dataset: Any) -> int:
    """Count the chunks that are stored, and check their list, which has no checksum.

    Raises:
        ValueError: the list contradicts the data set or itself.
    """
    sides = list(zip(dataset.shape, dataset.chunks, strict=True))
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    # Where a chunk lies in the array -> where it lies in the file.
    chunks: dict[Any, int] = {}

    def add_chunk(chunk: Any) -> None:
        inside = all(
            place % side == 0 and place < length
            for place, (length, side) in zip(chunk.chunk_offset, sides, strict=True)
        )
        # A filter that is skipped for a chunk leaves its size as it is.
        plain = not packed or chunk.filter_mask
        # Noise grows a little when it is packed; more would unpack to far more than a chunk.
        fits = chunk.size == size if plain else chunk.size <= 2 * size + 1024
        if not inside or not fits or chunk.chunk_offset in chunks:
            raise ValueError(f"its list of chunks is wrong at {chunk.chunk_offset}")
        chunks[chunk.chunk_offset] = chunk.byte_offset

    dataset.id.chunk_iter(add_chunk)
    if len(set(chunks.values())) < len(chunks):
        raise ValueError("two chunks lie in the same place")
    return len(chunks)
