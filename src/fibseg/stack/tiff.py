"""TIFF: BigTIFF, compressed, OME and ImageJ stacks; written with the voxel size where ImageJ looks for it."""

from __future__ import annotations

import json
import os
import re
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.files import partial_path, replacing
from fibseg.stack.base import Slice, Stack, VoxelSize, damage_named, voxel_size


def open_tiff(path: Path) -> Stack:
    """A page per slice; also what tifffile stores as planes, and ImageJ, above 4 GB, as one block."""
    with damage_named(path), tifffile.TiffFile(path) as file:
        shapes = [page.shape for page in file.pages]
        dtypes = {page.dtype for page in file.pages}
        images = int((file.imagej_metadata or {}).get("images", 1))
        planes = (
            len(shapes[0]) == 3 and file.pages.first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        )
        declared = (
            file.shaped_metadata[0]["shape"] if file.is_shaped and file.shaped_metadata else None
        )
        more = _other_axes(file)
        block = (file.pages.first.dataoffsets[0], file.pages.first.is_contiguous, file.byteorder)
        size = _voxel_size(file)
    if more:
        raise FibsegError(f"{path}: several channels or times ({more}); save one of them.")
    if declared is not None and int(np.prod(declared)) != sum(
        int(np.prod(shape)) for shape in shapes
    ):
        raise FibsegError(
            f"{path}: the file is cut off: it says {tuple(declared)} and holds {len(shapes)} slices."
        )
    if (
        len(shapes) == 1 and planes
    ):  # tifffile stores 3 or 4 slices as the planes of one colour picture
        depth, height, width = shapes[0]
        pages = _Pages(path)
        return Stack(
            str(path),
            (depth, height, width),
            np.dtype(dtypes.pop()),
            lambda z: pages.read(0)[z],
            size,
        )
    if any(len(shape) != 2 for shape in shapes):
        raise FibsegError(
            f"{path}: slices of shape {shapes[0]}; expected grey slices of (height, width)."
        )
    if len(set(shapes)) != 1 or len(dtypes) != 1:
        raise FibsegError(
            f"{path}: its slices differ in size or type ({sorted(set(shapes))}); expected one."
        )
    (height, width), dtype = shapes[0], np.dtype(dtypes.pop())
    if images > len(shapes):
        return _open_block(path, (images, height, width), dtype, block, size)
    read = _Pages(path).read if len(shapes) > 1 else lambda _: _read_only_page(path)
    return Stack(str(path), (len(shapes), height, width), dtype, read, size)


def _read_only_page(path: Path) -> Slice:
    """Of a file that is one slice of many: nothing stays open."""
    with damage_named(path), tifffile.TiffFile(path) as file:
        return np.asarray(file.pages.first.asarray())


def _other_axes(file: tifffile.TiffFile) -> dict[str, Any]:
    """Channels and times of OME and ImageJ files, further axes of tifffile's own, and several pictures in one file."""
    if file.is_shaped and file.shaped_metadata:
        declared = [length for length in file.shaped_metadata[0]["shape"] if length != 1]
        return {"axes of": declared} if len(declared) > 3 else {}
    if not (file.is_ome or file.is_imagej) or not file.series:
        return {}
    if file.is_ome and len(file.series) > 1:
        return {"pictures": len(file.series)}
    series = file.series[0]
    lengths = dict(zip(series.axes, series.shape, strict=False))
    return {axis: length for axis, length in lengths.items() if axis in "CTS" and length > 1}


def _open_block(
    path: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    block: tuple[int, Any, Any],
    size: VoxelSize | None,
) -> Stack:
    """Slices that follow each other without pages of their own, as ImageJ saves them above 4 GB."""
    offset, contiguous, order = block
    length = int(np.prod(shape[1:])) * dtype.itemsize
    if not contiguous or path.stat().st_size < offset + shape[0] * length:
        raise FibsegError(
            f"{path}: the file is cut off: it says {shape[0]} slices and does not hold them."
        )

    def read(z: int) -> Slice:
        with damage_named(path, z), path.open("rb") as file:
            file.seek(offset + z * length)
            pixels = np.frombuffer(file.read(length), dtype.newbyteorder(order))
        return pixels.reshape(shape[1:]).astype(dtype)

    return Stack(str(path), shape, dtype, read, size)


class _Pages:
    """A file that stays open while its stack is used: finding page n again would mean going through n pages."""

    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        self._file: tifffile.TiffFile | None = None

    def read(self, number: int) -> Slice:
        """Pixels of a page."""
        with self._lock, damage_named(self._path, number):
            if self._file is None:
                self._file = tifffile.TiffFile(self._path)
                weakref.finalize(self, self._file.close)
            return np.asarray(self._file.pages[number].asarray())


def _voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """From OME's or ImageJ's description."""
    if file.is_ome:
        told = dict(
            re.findall(r'\b(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', file.ome_metadata or "")
        )
        try:
            sizes = [float(told[f"PhysicalSize{axis}"]) for axis in "ZYX"]
        except (KeyError, ValueError):
            return None
        return voxel_size(sizes, [told.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"])
    if not file.is_imagej:
        return None
    told, tags = file.imagej_metadata or {}, file.pages.first.tags
    try:
        sizes = [
            float(told["spacing"]),
            *(_length(tags[name].value) for name in ("YResolution", "XResolution")),
        ]
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        return None
    return voxel_size(sizes, [str(told.get("unit", "")).replace("\\u00B5", "u")] * 3)


def _length(resolution: tuple[int, int]) -> float:
    """Of a pixel, from pixels per unit as a fraction."""
    return resolution[1] / resolution[0]


NOTES = "fibseg="
"""Begins the line of a description that holds notes as JSON."""


def tiff_notes(path: Path) -> dict[str, Any] | None:
    """Notes of a file that `TiffWriter` wrote; None without any."""
    with tifffile.TiffFile(path) as file:
        lines = [
            line for line in file.pages.first.description.splitlines() if line.startswith(NOTES)
        ]
    return dict(json.loads(lines[0].removeprefix(NOTES))) if lines else None


class TiffWriter:
    """Write a stack slice by slice into one compressed multi-page TIFF; it appears under its name only when whole.

    Use as a context; `write` takes (H, W) slices of `dtype` in order. BigTIFF where the pixels exceed 3.5 GB.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, int, int],
        dtype: str,
        voxel_size: list[float] | None,
        notes: dict[str, Any] | None = None,
    ):
        """Voxel size is (z, y, x) in nm, written the way ImageJ reads it; None leaves it out. Notes go there too."""
        self._notes = f"{NOTES}{json.dumps(notes)}\n" if notes else ""
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self._partial = partial_path(self.path, shared=True)
        self._voxel_size = voxel_size
        self._written = 0

    def __enter__(self) -> TiffWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        large = int(np.prod(self.shape)) * self.dtype.itemsize > 3.5e9
        self._file = tifffile.TiffWriter(self._partial, bigtiff=large)
        return self

    def write(self, pixels: Slice) -> None:
        """Append one (H, W) slice."""
        if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
            raise ValueError(
                f"slice is {pixels.shape} {pixels.dtype}, expected {self.shape[1:]} {self.dtype}"
            )
        options: dict[str, Any] = {}
        if self._voxel_size is not None:
            z, y, x = self._voxel_size
            options = {
                "resolution": (1 / x, 1 / y),
                "resolutionunit": "NONE",
            }  # of ImageJ's unit, in the description
            if self._written == 0:
                depth = self.shape[0]
                told = f"ImageJ=1.54f\nimages={depth}\nslices={depth}\nspacing={z}\nunit=nm\n"
                options["description"] = told + self._notes
        elif self._written == 0 and self._notes:
            options["description"] = self._notes
        self._file.write(pixels, compression="zlib", contiguous=False, metadata=None, **options)
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None and self._written == self.shape[0]:
            os.replace(self._partial, self.path)
            return
        self._partial.unlink(missing_ok=True)
        if kind is None:
            raise ValueError(f"{self._written} slices written, expected {self.shape[0]}")


def write_stack(
    path: str | Path, slices: NDArray[Any], voxel_size: list[float] | None = None
) -> None:
    """Write (Z, H, W) pixels that are in memory; see TiffWriter."""
    with TiffWriter(path, slices.shape, str(slices.dtype), voxel_size) as writer:
        for pixels in slices:
            writer.write(pixels)


def write_pages(path: Path, pages: Sequence[NDArray[np.uint8]]) -> None:
    """Slices of any sizes as pages of one TIFF."""
    with replacing(path) as partial, tifffile.TiffWriter(partial) as file:
        for page in pages:
            file.write(page, compression="zlib", contiguous=False, metadata=None)


def read_pages(path: Path, which: Sequence[int] | None = None) -> list[NDArray[np.uint8]]:
    """What `write_pages` wrote: every page, or these."""
    with tifffile.TiffFile(path) as file:
        return [
            file.pages[k].asarray() for k in (range(len(file.pages)) if which is None else which)
        ]


def count_pages(path: Path) -> int:
    """How many pages there are."""
    with tifffile.TiffFile(path) as file:
        return len(file.pages)
