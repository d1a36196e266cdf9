"""Read and write image stacks of (Z, H, W), slice by slice.

A reader is a function `path -> Stack`: a shape, a dtype and a function that reads one slice. A new format is one more
such function and a line in `READERS`.
"""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fibseg.errors import FibsegError

Slice = NDArray[Any]


@dataclass(frozen=True)
class Stack:
    """A stack of grey slices that is read slice by slice.

    Attributes:
        name: where it comes from, for messages.
        shape: (Z, H, W) in pixels.
        dtype: of every slice: an integer, a float or a boolean type.
        read: z -> (H, W) array of `dtype`; raises FibsegError where the file is damaged.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[int], Slice]

    def __iter__(self) -> Iterator[Slice]:
        return (self.read(z) for z in range(self.shape[0]))


def open_stack(path: str | Path) -> Stack:
    """Open a stack without reading its pixels.

    Args:
        path: a multi-page TIFF, a TIFF or PNG of one slice, a folder of such slices, or a glob of them. Slices of a
            folder or a glob are taken in natural order: z2 comes before z10.

    Raises:
        FibsegError: nothing is there, the format is unknown, the slices differ in size or type, or a file is damaged.
    """
    found = _slice_paths(str(path))
    if len(found) > 1:
        return _open_slices(str(path), found)
    return _reader(found[0])(found[0])


def _slice_paths(path: str) -> list[Path]:
    if Path(path).is_dir():
        found = [entry for entry in Path(path).iterdir() if entry.suffix.lower() in READERS]
        if not found:
            raise FibsegError(f"{path}: the folder holds no slices; expected files ending in {', '.join(READERS)}.")
    elif glob.has_magic(path) and not Path(path).exists():
        found = [Path(entry) for entry in glob.glob(path)]
        if not found:
            raise FibsegError(f"{path}: no file matches this pattern.")
    else:
        found = [Path(path)]
        if not found[0].exists():
            raise FibsegError(f"{path}: no such file or folder.")
    return sorted(found, key=natural_key)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts z2 before z10.

    >>> sorted([Path("z10.png"), Path("z2.png")], key=natural_key)[0].name
    'z2.png'
    """
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _reader(path: Path) -> Callable[[Path], Stack]:
    try:
        return READERS[path.suffix.lower()]
    except KeyError:
        raise FibsegError(
            f"{path}: the format {path.suffix or '(no ending)'} is not known; expected {', '.join(READERS)}."
        ) from None


def _open_slices(name: str, paths: list[Path]) -> Stack:
    """A stack of one file per slice; only headers are read here."""
    slices = [_reader(path)(path) for path in paths]
    first = slices[0]
    for path, one in zip(paths, slices, strict=True):
        if one.shape[0] != 1:
            raise FibsegError(f"{path}: holds {one.shape[0]} slices; in a folder or glob every file is one slice.")
        if one.shape != first.shape or one.dtype != first.dtype:
            raise FibsegError(
                f"{path}: {_describe(one)}, but {paths[0].name} is {_describe(first)}; "
                "all slices of a stack must have one size and type."
            )
    _, height, width = first.shape
    return Stack(name, (len(slices), height, width), first.dtype, lambda z: slices[z].read(0))


def _describe(stack: Stack) -> str:
    _, height, width = stack.shape
    return f"{height} x {width} pixels of {stack.dtype}"


def _open_tiff(path: Path) -> Stack:
    with _damage_named(path), tifffile.TiffFile(path) as file:
        shapes = [page.shape for page in file.pages]
        dtypes = {page.dtype for page in file.pages}
        images = int((file.imagej_metadata or {}).get("images", 1))
        planes = len(shapes[0]) == 3 and file.pages.first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        declared = file.shaped_metadata[0]["shape"] if file.is_shaped and file.shaped_metadata else None
    if images > len(shapes):
        raise FibsegError(f"{path}: {images} slices in one block, as ImageJ saves over 4 GB; save it as BigTIFF.")
    if declared is not None and int(np.prod(declared)) != sum(int(np.prod(shape)) for shape in shapes):
        raise FibsegError(f"{path}: the file is cut off: it says {tuple(declared)} and holds {len(shapes)} slices.")
    if len(shapes) == 1 and planes:  # tifffile stores 3 or 4 slices as the planes of one colour picture
        depth, height, width = shapes[0]
        return Stack(str(path), (depth, height, width), np.dtype(dtypes.pop()), lambda z: _read_page(path, 0)[z])
    if any(len(shape) != 2 for shape in shapes):
        raise FibsegError(f"{path}: slices of shape {shapes[0]}; expected grey slices of (height, width).")
    if len(set(shapes)) != 1 or len(dtypes) != 1:
        raise FibsegError(f"{path}: its slices differ in size or type ({sorted(set(shapes))}); expected one.")
    height, width = shapes[0]
    return Stack(str(path), (len(shapes), height, width), np.dtype(dtypes.pop()), lambda z: _read_page(path, z))


def _read_page(path: Path, number: int) -> Slice:
    with _damage_named(path, number):
        return np.asarray(tifffile.imread(path, key=number))


_PNG_DTYPES = {"1": "bool", "L": "uint8", "P": "uint8", "I;16": "uint16", "I": "int32", "F": "float32"}


def _open_png(path: Path) -> Stack:
    """One slice; a palette image gives its indices, which is what painted labels are."""
    with _damage_named(path), Image.open(path) as image:
        (width, height), mode = image.size, image.mode
    if mode not in _PNG_DTYPES:
        raise FibsegError(f"{path}: a picture of mode {mode}; expected a grey picture (save it without colours).")

    def read(_: int) -> Slice:
        with _damage_named(path), Image.open(path) as image:
            return np.asarray(image)

    return Stack(str(path), (1, height, width), np.dtype(_PNG_DTYPES[mode]), read)


READERS: dict[str, Callable[[Path], Stack]] = {".tif": _open_tiff, ".tiff": _open_tiff, ".png": _open_png}
"""File ending -> reader."""


class _Complaints(logging.Handler):
    """tifffile logs damage and goes on with fewer slices; this turns what it logs into an error."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


@contextmanager
def _damage_named(path: Path, z: int | None = None) -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes one sentence that names the file."""
    logger, handler = logging.getLogger("tifffile"), _Complaints(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    except (FibsegError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, zlib.error and others
        where = f"{path}" if z is None else f"{path}, slice {z}"
        raise FibsegError(f"{where}: cannot be read, the file is damaged, cut off or no image ({error}).") from error
    finally:
        logger.removeHandler(handler)


class TiffWriter:
    """Write a stack slice by slice into one compressed multi-page TIFF; it appears under its name only when whole.

    Use as a context; `write` takes (H, W) slices of `dtype` in order. BigTIFF where the pixels exceed 3.5 GB.
    """

    def __init__(self, path: str | Path, shape: tuple[int, int, int], dtype: str, voxel_size: list[float] | None):
        """Voxel size is (z, y, x) in nm, written the way ImageJ reads it; None leaves it out."""
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
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
            raise ValueError(f"slice is {pixels.shape} {pixels.dtype}, expected {self.shape[1:]} {self.dtype}")
        options: dict[str, Any] = {}
        if self._voxel_size is not None:
            z, y, x = self._voxel_size
            options = {"resolution": (1 / x, 1 / y), "resolutionunit": "NONE"}  # of ImageJ's unit, in the description
            if self._written == 0:
                depth = self.shape[0]
                options["description"] = f"ImageJ=1.54f\nimages={depth}\nslices={depth}\nspacing={z}\nunit=nm\n"
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


def write_stack(path: str | Path, slices: NDArray[Any], voxel_size: list[float] | None = None) -> None:
    """Write (Z, H, W) pixels that are in memory; see TiffWriter."""
    with TiffWriter(path, slices.shape, str(slices.dtype), voxel_size) as writer:
        for pixels in slices:
            writer.write(pixels)


def write_pages(path: Path, pages: Sequence[NDArray[np.uint8]]) -> None:
    """Slices of any sizes as pages of one TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with tifffile.TiffWriter(partial) as file:
        for page in pages:
            file.write(page, compression="zlib", contiguous=False, metadata=None)
    os.replace(partial, path)


def read_pages(path: Path) -> list[NDArray[np.uint8]]:
    """What `write_pages` wrote."""
    with tifffile.TiffFile(path) as file:
        return [page.asarray() for page in file.pages]
