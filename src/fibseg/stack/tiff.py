"""TIFF read as a stack: multi-page files, BigTIFF, compressed, OME and ImageJ stacks."""

from __future__ import annotations

import re
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, damage_named
from fibseg.stack.units import VoxelSize, voxel_size_in_nm


@dataclass(frozen=True)
class _TiffHeader:
    """What the pages and descriptions of a file state, read without pixels.

    Attributes:
        shapes: shape of each page.
        dtypes: types of pixels that occur.
        planes: whether the first page stores its channels one after another.
        imagej_slices: slices that ImageJ's description promises, 1 without one.
        declared: shape that tifffile's description promises, None without one.
        extra_axes: axes besides z, y and x, with their lengths.
        offset: byte at which the first page's pixels begin.
        contiguous: whether the first page is stored uncompressed in one piece.
        byte_order: "<" or ">".
        voxel_size: (z, y, x) in nm, None where nothing states it.
    """

    shapes: list[tuple[int, ...]]
    dtypes: set[Any]
    planes: bool
    imagej_slices: int
    declared: tuple[int, ...] | None
    extra_axes: dict[str, Any]
    offset: int
    contiguous: bool
    byte_order: Any
    voxel_size: VoxelSize | None


def open_tiff(path: Path) -> Stack:
    """Open a file with a page per slice, with slices as planes, or with ImageJ's one block.

    Raises:
        FibsegError: the file is damaged, or holds colours, channels, times or unequal slices.
    """
    header = _read_header(path)
    shapes = header.shapes
    _check_header(path, header)
    if len(shapes) == 1 and header.planes:
        # tifffile stores three or four slices as the planes of one colour picture.
        dtype = np.dtype(next(iter(header.dtypes)))
        depth, height, width = shapes[0]
        page = _OpenPages(path)
        return Stack(
            name=str(path),
            shape=(depth, height, width),
            dtype=dtype,
            read=lambda z: page.read(0)[z],
            voxel_size=header.voxel_size,
        )
    # A third axis of a page holds the samples of a colour.
    if any(len(shape) != 2 for shape in shapes):
        raise FibsegError(
            f"{path}: slices of shape {shapes[0]}; expected grey slices of (height, width)."
        )
    if len(set(shapes)) != 1 or len(header.dtypes) != 1:
        raise FibsegError(
            f"{path}: its slices differ in size or type ({sorted(set(shapes))}); expected one."
        )
    # ImageJ promises more slices than there are pages where all lie behind one page.
    if header.imagej_slices > len(shapes):
        return _open_block(path, header)
    height, width = shapes[0]
    dtype = np.dtype(next(iter(header.dtypes)))
    # A file of one slice may be one of thousands in a folder: it must not stay open.
    read = _OpenPages(path).read if len(shapes) > 1 else lambda _: _read_only_page(path)
    return Stack(
        name=str(path),
        shape=(len(shapes), height, width),
        dtype=dtype,
        read=read,
        voxel_size=header.voxel_size,
    )


def _read_header(path: Path) -> _TiffHeader:
    with damage_named(path), tifffile.TiffFile(path) as file:
        first = file.pages.first
        # All pages are visited: a broken chain of pages is found here and not hours later.
        shapes = [page.shape for page in file.pages]
        separate = first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        return _TiffHeader(
            shapes=shapes,
            dtypes={page.dtype for page in file.pages},
            planes=len(shapes[0]) == 3 and separate,
            imagej_slices=int((file.imagej_metadata or {}).get("images", 1)),
            declared=_declared_shape(file),
            extra_axes=_extra_axes(file),
            offset=first.dataoffsets[0],
            contiguous=bool(first.is_contiguous),
            byte_order=file.byteorder,
            voxel_size=_voxel_size(file),
        )


def _check_header(path: Path, header: _TiffHeader) -> None:
    """Raise a FibsegError for channels, times, or slices that are missing at the end."""
    if header.extra_axes:
        raise FibsegError(
            f"{path}: several channels or times ({header.extra_axes}); save one of them."
        )
    # A file that was cut between two pages is a valid TIFF of fewer slices.
    stored = sum(int(np.prod(shape)) for shape in header.shapes)
    if header.declared is not None and int(np.prod(header.declared)) != stored:
        raise FibsegError(
            f"{path}: the file is cut off: it says {header.declared} and holds "
            f"{len(header.shapes)} slices."
        )


def _read_only_page(path: Path) -> Pixels:
    """Read the page (H, W) of a file that is closed again at once."""
    with damage_named(path), tifffile.TiffFile(path) as file:
        return np.asarray(file.pages.first.asarray())


def _declared_shape(file: tifffile.TiffFile) -> tuple[int, ...] | None:
    """Read the shape of the whole array that tifffile writes into its own files."""
    if not file.is_shaped or not file.shaped_metadata:
        return None
    return tuple(file.shaped_metadata[0]["shape"])


def _extra_axes(file: tifffile.TiffFile) -> dict[str, Any]:
    """Read the axes besides z, y and x of OME, ImageJ and tifffile's own files; {} without any."""
    declared = _declared_shape(file)
    if declared is not None:
        # Up to three axes can be z, y and x; more cannot.
        lengths = [length for length in declared if length != 1]
        return {"axes of": lengths} if len(lengths) > 3 else {}
    if not (file.is_ome or file.is_imagej) or not file.series:
        return {}
    # A file of several images does not say which one is meant.
    if file.is_ome and len(file.series) > 1:
        return {"pictures": len(file.series)}
    series = file.series[0]
    # Letters of tifffile: C for channels, T for times, S for samples of a colour.
    axes = zip(series.axes, series.shape, strict=False)
    return {axis: length for axis, length in axes if axis in "CTS" and length > 1}


def _open_block(path: Path, header: _TiffHeader) -> Stack:
    """Open slices that follow each other behind a single page, as ImageJ saves above 4 GB."""
    height, width = header.shapes[0]
    depth = header.imagej_slices
    dtype = np.dtype(next(iter(header.dtypes)))
    slice_bytes = height * width * dtype.itemsize
    if not header.contiguous or path.stat().st_size < header.offset + depth * slice_bytes:
        raise FibsegError(
            f"{path}: the file is cut off: it says {depth} slices and does not hold them."
        )

    def read(z: int) -> Pixels:
        with damage_named(path, z), path.open("rb") as file:
            file.seek(header.offset + z * slice_bytes)
            content = file.read(slice_bytes)
            # ImageJ writes big-endian; the cast below gives the machine's order.
            pixels = np.frombuffer(content, dtype.newbyteorder(header.byte_order))
        return pixels.reshape(height, width).astype(dtype)

    return Stack(
        name=str(path),
        shape=(depth, height, width),
        dtype=dtype,
        read=read,
        voxel_size=header.voxel_size,
    )


class _OpenPages:
    """Pages of a file that stays open while its stack is used.

    A TIFF is a linked list of pages: in a file opened anew, finding page n means reading n headers.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: tifffile.TiffFile | None = None
        # A file has one position, and slices are read by several threads.
        self._lock = threading.Lock()

    def read(self, number: int) -> Pixels:
        """Read the pixels of a page."""
        with self._lock, damage_named(self._path, number):
            if self._file is None:
                self._file = tifffile.TiffFile(self._path)
                # A stack has no `close`, so the file is closed with the last reference to it.
                weakref.finalize(self, self._file.close)
            return np.asarray(self._file.pages[number].asarray())


def _voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    if file.is_ome:
        return _ome_voxel_size(file.ome_metadata or "")
    return _imagej_voxel_size(file) if file.is_imagej else None


def _ome_voxel_size(description: str) -> VoxelSize | None:
    """Read OME's attributes PhysicalSizeX, PhysicalSizeXUnit and so on; the default unit is um."""
    attributes = dict(re.findall(r'\b(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', description))
    try:
        sizes = [float(attributes[f"PhysicalSize{axis}"]) for axis in "ZYX"]
    except (KeyError, ValueError):
        return None
    units = [attributes.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"]
    return voxel_size_in_nm(sizes, units)


def _imagej_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """Read ImageJ's spacing of slices, and its pixels per unit from the resolution tags."""
    metadata = file.imagej_metadata or {}
    tags = file.pages.first.tags
    try:
        z = float(metadata["spacing"])
        # A resolution is a fraction: pixels over units. Its inverse is the size of a pixel.
        pixels_y, units_y = tags["YResolution"].value
        pixels_x, units_x = tags["XResolution"].value
        sizes = [z, units_y / pixels_y, units_x / pixels_x]
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        return None
    # ImageJ writes the micro sign as the six characters of its escape.
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "u")
    return voxel_size_in_nm(sizes, [unit] * 3)
