"""What a stack is, whatever file it comes from."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.errors import FibsegError

Slice = NDArray[Any]
VoxelSize = tuple[float, float, float]

LARGEST = 2**31
"""Pixels of a slice; a header that tells of more is taken for damaged."""


@dataclass(frozen=True)
class Stack:
    """A stack of grey slices that is read slice by slice.

    Attributes:
        name: where it comes from, for messages.
        shape: (Z, H, W) in pixels.
        dtype: of every slice: an integer, a float or a boolean type.
        read: z -> (H, W) array of `dtype`; raises FibsegError where the file is damaged.
        voxel_size: (z, y, x) in nm, where the file tells.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[int], Slice]
    voxel_size: VoxelSize | None = None

    def __iter__(self) -> Iterator[Slice]:
        return (self.read(z) for z in range(self.shape[0]))


def checked(stack: Stack) -> Stack:
    """The stack itself; FibsegError where its slices are empty, hold no numbers, or are larger than anything real."""
    depth, height, width = stack.shape
    if min(stack.shape) < 1:
        raise FibsegError(f"{stack.name}: empty, its shape is {stack.shape}.")
    if height * width > LARGEST or depth > LARGEST:
        raise FibsegError(f"{stack.name}: damaged, or no stack: its shape is {stack.shape}.")
    if stack.dtype.kind not in "uifb" or stack.dtype.itemsize > 8:
        raise FibsegError(
            f"{stack.name}: values of type {stack.dtype}; expected grey values or labels."
        )
    return stack


def part_of(stack: Stack, offset: Sequence[int], shape: tuple[int, int, int]) -> Stack:
    """A box of a stack, from `offset` (z, y, x) on; FibsegError where it leaves the stack."""
    z, y, x = (int(start) for start in offset)
    for axis, start, length, whole in zip("zyx", (z, y, x), shape, stack.shape, strict=True):
        if start < 0 or start + length > whole:
            raise FibsegError(
                f"{stack.name}: a box of {shape} at {(z, y, x)} leaves the stack {stack.shape} along {axis}."
            )
    _, height, width = shape
    read = stack.read
    return replace(stack, shape=shape, read=lambda n: read(z + n)[y : y + height, x : x + width])


SLAB = 2**29
"""Bytes of a run of slices that is kept, since chunks that are many slices deep are decoded as a whole."""


class Slabs:
    """Slices of a chunked array: those of one layer of chunks are read together and kept until another is asked for."""

    def __init__(
        self,
        read: Callable[[int, int], NDArray[Any]],
        shape: tuple[int, int, int],
        dtype: Any,
        chunk: int,
    ):
        """`read` gives slices [start, stop) as (n, H, W); `chunk`: slices in a chunk."""
        fits = max(1, SLAB // max(1, shape[1] * shape[2] * np.dtype(dtype).itemsize))
        self._read, self._depth, self._step = read, shape[0], max(1, min(chunk, fits))
        self._start, self._kept = -1, np.empty(0)
        self._lock = threading.Lock()

    def read(self, z: int) -> Slice:
        """One slice."""
        with self._lock:
            start = z // self._step * self._step
            if start != self._start:
                self._start = -1
                self._kept = self._read(start, min(start + self._step, self._depth))
                self._start = start
            return np.array(self._kept[z - start])


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts z2 before z10.

    >>> sorted([Path("z10.png"), Path("z2.png")], key=natural_key)[0].name
    'z2.png'
    """
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


NANOMETRES = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}
"""Of a unit of length, in lower case."""


def voxel_size(
    sizes: list[float] | tuple[float, ...], units: list[str] | tuple[str, ...]
) -> VoxelSize | None:
    """(z, y, x) in nm; None where a unit is unknown or a size is no length.

    >>> voxel_size([0.02, 5, 5], ["micrometer", "nm", "nm"])
    (20.0, 5.0, 5.0)
    """
    factors = [NANOMETRES.get(str(unit).strip().lower()) for unit in units]
    if len(sizes) != 3 or len(factors) != 3 or None in factors:
        return None
    z, y, x = (
        float(f"{float(size) * (factor or 0):.6g}")
        for size, factor in zip(sizes, factors, strict=True)
    )  # .02 times 1000 is 20
    return (z, y, x) if all(np.isfinite(size) and size > 0 for size in (z, y, x)) else None


class _Complaints(logging.Handler):
    """tifffile logs damage and goes on with fewer slices; this turns what it logs into an error."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


@contextmanager
def damage_named(path: Path | str, z: int | None = None) -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes one sentence that names the file."""
    logger, handler = logging.getLogger("tifffile"), _Complaints(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    except (FibsegError, KeyboardInterrupt):
        raise
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, zlib.error and others
        where = f"{path}" if z is None else f"{path}, slice {z}"
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FibsegError(
            f"{where}: cannot be read, the file is damaged, cut off or no image ({why})."
        ) from error
    finally:
        logger.removeHandler(handler)
