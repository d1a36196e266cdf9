"""TIFF read as a stack: multi-page files, BigTIFF, compressed, OME and ImageJ stacks."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import COLOUR_LABELS, Stack, check_shape
from fibseg.stack.failures import damage_named
from fibseg.stack.ome import OmePlanes, ome_planes
from fibseg.stack.png import colour_numbers
from fibseg.stack.tiff_header import JPEG, TiffHeader, axis_doubt, read_tiff_header


def open_tiff(path: Path) -> Stack:
    """Open a file with a page per slice, with slices as planes, or with ImageJ's one block.

    The order of slices is that of an OME description where the file has one. If it says that the
    stack lies in several files, all of them are opened.

    Raises:
        FibsegError: the file is damaged, holds colours, channels, times or unequal slices, or
            another file of its set is not there.
    """
    header = read_tiff_header(path)
    planes = ome_planes(path, header.ome) if header.ome else None
    if planes is None:
        return _open_pages(path, header)
    stack = _open_set(path, planes) if planes.files else _open_planes(path, header, planes)
    if planes.axis == "Z":
        return stack
    return replace(stack, doubts=(*stack.doubts, axis_doubt(path, planes.axis)))


def open_tiff_slice(path: Path) -> Stack:
    """Open a file of a folder: its own pages, even where it belongs to an OME set.

    Raises:
        FibsegError: as in `open_tiff`.
    """
    return _open_pages(path, read_tiff_header(path))


def open_colour_tiff(path: Path) -> Stack:
    """Open pages of colours, a palette or grey values as 0xRRGGBB, uint32.

    Raises:
        FibsegError: the file is damaged, its colours have other than 8 bits, or JPEG mixed them.
    """
    header = read_tiff_header(path)
    _check_equal(path, header)
    shape = header.shapes[0]
    if header.dtype != np.uint8:
        raise FibsegError(f"{path}: colours of {header.dtype}; expected 8 bits for each.")
    if header.jpeg:
        raise FibsegError(f"{path}: JPEG mixes the colours of labels; save it as PNG.")
    pages = _OpenPages(path)

    def read(z: int) -> Pixels:
        pixels = pages.read(z)
        if header.palettes[z]:
            table = np.frombuffer(header.palettes[z], np.uint8).reshape(-1, 3)
            return colour_numbers(str(path), table[pixels])
        if pixels.ndim == 2:
            return colour_numbers(str(path), np.stack([pixels] * 3, axis=-1))
        planes = np.moveaxis(pixels, 0, -1) if header.planes else pixels
        return colour_numbers(str(path), planes)

    height, width = (shape[1:] if header.planes else shape[:2])[:2]
    return Stack(str(path), (len(header.shapes), height, width), np.dtype(np.uint32), read)


def _open_pages(path: Path, header: TiffHeader) -> Stack:
    """Open the pages of a file in their order."""
    shapes = header.shapes
    if len(shapes) == 1 and header.planes:
        # tifffile stores three or four slices as the planes of one colour picture.
        depth, height, width = shapes[0]
        page = _OpenPages(path)
        return _stack(path, header, (depth, height, width), lambda z: page.read(0)[z])
    _check_grey(path, header)
    height, width = shapes[0]
    # A single page may be followed by more slices than it describes.
    if header.block > len(shapes):
        return _open_block(path, header)
    # A file of one slice may be one of thousands in a folder: it must not stay open.
    read = _OpenPages(path).read if len(shapes) > 1 else lambda z: _read_page(path, z)
    return _stack(path, header, (len(shapes), height, width), read)


def _open_planes(path: Path, header: TiffHeader, planes: OmePlanes) -> Stack:
    """Open the pages of a file in the order of its OME description."""
    _check_grey(path, header)
    _check_ome_size(path, header, planes)
    pages = [page for _, page in planes.pages]
    if max(pages) >= len(header.shapes):
        raise FibsegError(
            f"{path}: the file is cut off: its OME description says {len(pages)} slices, and it "
            f"holds {len(header.shapes)}."
        )
    read = _OpenPages(path).read
    return _stack(path, header, (len(pages), *planes.size), lambda z: read(pages[z]))


def _open_set(path: Path, planes: OmePlanes) -> Stack:
    """Open the slices of a stack that lies in several files of one folder."""
    absent = [name for name in planes.files if not path.with_name(name).is_file()]
    if absent:
        raise FibsegError(
            f"{path}: a part of a stack of {len(planes.pages)} slices, the others lie in "
            f"{', '.join(planes.files[:8])}, and {absent[0]} is not there; put all files into one "
            "folder."
        )
    pages = [(path.with_name(name) if name else path, page) for name, page in planes.pages]
    headers = {file: read_tiff_header(file) for file in dict.fromkeys(file for file, _ in pages)}
    first = headers[pages[0][0]]
    for file, page in pages:
        header = headers[file]
        _check_grey(file, header)
        _check_ome_size(file, header, planes)
        alike = header.dtype == first.dtype and header.palettes[0] == first.palettes[0]
        if not alike or page >= len(header.shapes):
            raise FibsegError(
                f"{file}: {len(header.shapes)} slices of {header.dtype} or of another palette; the "
                f"OME description of {path.name} says otherwise."
            )

    def read(z: int) -> Pixels:
        return _read_page(*pages[z])

    doubts = dict.fromkeys(doubt for header in headers.values() for doubt in header.doubts)
    stack = _stack(path, first, (len(pages), *planes.size), read)
    return replace(stack, doubts=tuple(doubts))


def _stack(
    path: Path, header: TiffHeader, shape: tuple[int, int, int], read: Callable[[int], Pixels]
) -> Stack:
    return Stack(
        name=str(path),
        shape=shape,
        dtype=header.dtype,
        read=read,
        voxel_size=header.voxel_size,
        doubts=header.doubts,
        palette=header.palettes[0],
    )


def _check_grey(path: Path, header: TiffHeader) -> None:
    """Raise a FibsegError unless all pages are grey, of one size, type and palette."""
    # A third axis of a page holds the samples of a colour.
    if any(len(shape) != 2 for shape in header.shapes):
        raise FibsegError(
            f"{path}: colours, slices of shape {header.shapes[0]}; expected grey slices of "
            f"(height, width), or {COLOUR_LABELS}."
        )
    _check_equal(path, header)
    if len(set(header.palettes)) > 1:
        other = next(
            z for z, palette in enumerate(header.palettes) if palette != header.palettes[0]
        )
        raise FibsegError(
            f"{path}: slices 0 and {other} differ in their palette, so that an index means two "
            f"colours; save all slices with a single palette, or {COLOUR_LABELS}."
        )


def _check_equal(path: Path, header: TiffHeader) -> None:
    """Raise a FibsegError unless all pages have one size and type."""
    if len(set(header.shapes)) != 1 or len(header.dtypes) != 1:
        raise FibsegError(
            f"{path}: its slices differ in size or type ({sorted(set(header.shapes))}); expected "
            "a single size."
        )
    check_shape(str(path), (1, *header.shapes[0][:2]), header.dtype)


def _check_ome_size(path: Path, header: TiffHeader, planes: OmePlanes) -> None:
    if header.shapes[0] != planes.size:
        raise FibsegError(
            f"{path}: its pages are {header.shapes[0]} and its OME description says {planes.size}; "
            "save it anew."
        )


def _open_block(path: Path, header: TiffHeader) -> Stack:
    """Open slices that follow each other behind a single page, as ImageJ saves above 4 GB."""
    height, width = header.shapes[0]
    depth = header.block
    dtype = header.dtype
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

    return _stack(path, header, (depth, height, width), read)


def _read_page(path: Path, number: int) -> Pixels:
    """Read a page (H, W) of a file that is closed again at once."""
    with damage_named(path), tifffile.TiffFile(path) as file:
        return _pixels_of(file, number)


def _pixels_of(file: tifffile.TiffFile, number: int) -> Pixels:
    page: Any = file.pages.first if number == 0 else file.pages[number]
    if page.compression in JPEG:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            content = file.filehandle.read(count).rstrip(b"\0")
            # Decoders fill what is missing of a JPEG with grey, without a word.
            if content and not content.endswith(b"\xff\xd9"):
                raise ValueError("a strip compressed as JPEG is cut off")
    return np.asarray(page.asarray())


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
            return _pixels_of(self._file, number)
