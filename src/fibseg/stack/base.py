"""What a stack is, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import MOST_PIXELS, Pixels
from fibseg.errors import FibsegError
from fibseg.machine import free_memory
from fibseg.stack.units import VoxelSize

LEAST_GAP = 1.5
"""How much longer than the least step from number to number a gap is."""

COLOUR_LABELS = "for labels in colours: fibseg import --class NAME=#rrggbb"
"""What to do with pictures in colours, which have no grey values."""


# A function reads the slices, and there is no subclass for each format: a box of a stack or a stack
# of files is one more function around another.
@dataclass(frozen=True)
class Stack:
    """A stack of grey or label slices that is read slice by slice.

    Attributes:
        name: the file that it comes from, for messages.
        shape: (Z, H, W) in pixels.
        dtype: type of every slice: an integer, a float or a boolean type.
        read: a function z -> (H, W) array of `dtype`; it raises FibsegError where the file is
            damaged.
        voxel_size: (z, y, x) in nm, None where the file does not state it.
        origin: (z, y, x) in nm of the first voxel, None where the file states no translation.
        slice_numbers: the number in the name of each slice's file; None where the stack is no
            folder or glob, or its names differ in more than a whole number.
        doubts: sentences on what is odd in the file, and still readable.
        palette: colours of the values 0, 1, ... as bytes of red, green and blue; empty where the
            file has none.
        orientation: what was turned to bring slices into the order that a header states; "" where
            the format has no such header.
        layer: how many slices are stored together, so that reading one of them reads all.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[int], Pixels]
    voxel_size: VoxelSize | None = None
    origin: tuple[float, float, float] | None = None
    slice_numbers: tuple[int, ...] | None = None
    doubts: tuple[str, ...] = ()
    palette: bytes = b""
    orientation: str = ""
    layer: int = 1

    def __iter__(self) -> Iterator[Pixels]:
        return (self.read(z) for z in range(self.shape[0]))

    def neighbours(self, z: int, reach: int) -> list[int]:
        """List the slices around slice z: z - 1, z + 1, z - 2, z + 2, up to `reach`.

        Where a slice lies beyond an end of the stack, or across a gap in the numbers of its files,
        the one as far on the other side stands in; slice z itself where that is missing, too.
        """
        chosen = []
        for distance in range(1, reach + 1):
            for offset in (-distance, distance):
                candidates = (z + offset, z - offset)
                near = (other for other in candidates if self._is_connected(z, other))
                chosen.append(next(near, z))
        return chosen

    def _is_connected(self, z: int, other: int) -> bool:
        """Whether no slice is missing between two positions."""
        if not 0 <= other < self.shape[0]:
            return False
        if self.slice_numbers is None:
            return True
        blocks = _blocks(self.slice_numbers)
        return blocks[z] == blocks[other]


@lru_cache(maxsize=16)
def _blocks(numbers: tuple[int, ...]) -> list[int]:
    """Number the blocks of slices that follow each other without a gap, by slice.

    Steps may differ by the rounding of positions: a gap is half as long again as the least step.
    """
    steps = [abs(after - before) for before, after in pairwise(numbers)]
    least = min(steps, default=0)
    gaps = (step > LEAST_GAP * least for step in steps)
    return list(accumulate(gaps, initial=0))


@dataclass(frozen=True)
class StackHeader:
    """The facts that a writer puts into a file besides the pixels.

    Attributes:
        shape: (Z, H, W) in pixels.
        dtype: name of the pixels' type, such as "uint8".
        voxel_size: (z, y, x) in nm; None leaves it out of the file.
        notes: a JSON object that `read_notes` reads back. "classes" in it, label value -> name,
            becomes label metadata where the format has such.
        channels: names of what each voxel has a value of; empty where it has one value. Only
            OME-Zarr has them, as its first axis.
        ome_zarr: the version of OME-Zarr, where it is one: "0.4", or "0.5" in shards.
    """

    shape: tuple[int, int, int]
    dtype: str
    voxel_size: Sequence[float] | None = None
    notes: dict[str, Any] | None = None
    channels: tuple[str, ...] = ()
    ome_zarr: str = "0.4"

    @property
    def channel_sides(self) -> tuple[int, ...]:
        """Length of the axis of channels, where there is one."""
        return (len(self.channels),) if self.channels else ()


def check_stack(stack: Stack) -> Stack:
    """Return the stack itself once its header is plausible.

    Raises:
        FibsegError: the slices are empty, hold no numbers, or are larger than the limit or the
            memory.
    """
    check_shape(stack.name, stack.shape, stack.dtype)
    # Kinds of NumPy: unsigned, signed, floating, boolean. More than 8 bytes is a long double, which
    # torch does not have.
    if stack.dtype.kind not in "uifb" or stack.dtype.itemsize > 8:
        raise FibsegError(
            f"{stack.name}: values of type {stack.dtype}; expected grey values or labels."
        )
    return stack


def check_shape(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check the size (Z, H, W) that a header states before memory is taken for a slice.

    Raises:
        FibsegError: an axis is empty, or a slice is larger than the limit or the memory.
    """
    depth, height, width = shape
    if min(shape) < 1:
        raise FibsegError(f"{name}: empty, its shape is {shape}.")
    # A file of kilobytes can state any size; a flipped bit in a header is enough. A depth
    # has the same limit, which no microscope comes near.
    if height * width > MOST_PIXELS or depth > MOST_PIXELS:
        raise FibsegError(
            f"{name}: damaged, or no stack: its shape is {shape}, and a slice has at most "
            f"{MOST_PIXELS} pixels here (32768 x 32768)."
        )
    check_memory(name, height * width * dtype.itemsize, "a slice")


def check_memory(name: str, size: int, part: str) -> None:
    """Check that the memory bears a part of a file of `size` bytes, and a copy of it.

    Raises:
        FibsegError: it does not.
    """
    free = free_memory()
    if 2 * size > free:
        raise FibsegError(
            f"{name}: {part} needs {2 * size / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are "
            "free; cut the stack into smaller parts, or use a machine with more memory."
        )


def surplus(path: Path, length: int) -> tuple[str, ...]:
    """Say that a file goes on behind the `length` bytes that its header asks for."""
    rest = path.stat().st_size - length
    if rest <= 0:
        return ()
    return (f"{path}: bytes follow behind what its header says; does it hold more slices?",)


def part_of(stack: Stack, offset: Sequence[int], shape: tuple[int, int, int]) -> Stack:
    """Cut a box out of a stack; pixels are still read slice by slice, and the origin moves along.

    `offset` is the first voxel (z, y, x) of the box and `shape` its size (Z, H, W).

    Raises:
        FibsegError: the box leaves the stack.
    """
    z, y, x = (int(start) for start in offset)
    for axis, start, length, whole in zip("zyx", (z, y, x), shape, stack.shape, strict=True):
        if start < 0 or start + length > whole:
            raise FibsegError(
                f"{stack.name}: a box of {shape} at {(z, y, x)} leaves the stack {stack.shape} "
                f"along {axis}."
            )
    depth, height, width = shape
    read = stack.read
    numbers = stack.slice_numbers
    return replace(
        stack,
        shape=shape,
        read=lambda k: read(z + k)[y : y + height, x : x + width],
        origin=_moved_origin(stack, (z, y, x)),
        slice_numbers=None if numbers is None else numbers[z : z + depth],
    )


def _moved_origin(stack: Stack, offset: tuple[int, int, int]) -> tuple[float, float, float] | None:
    """Return (z, y, x) in nm of the voxel at an offset; None where it is unknown."""
    if stack.origin is None or offset == (0, 0, 0):
        return stack.origin
    if stack.voxel_size is None:
        return None
    steps = zip(stack.origin, offset, stack.voxel_size, strict=True)
    # Nine digits: sums of decimal fractions end in digits that nobody wrote.
    z, y, x = (float(f"{start + count * size:.9g}") for start, count, size in steps)
    return z, y, x


def turned_apart(image: Stack, labels: Stack) -> list[str]:
    """Doubt labels whose header turns them otherwise than that of their image; [] without doubt."""
    if not image.orientation or not labels.orientation or image.orientation == labels.orientation:
        return []
    return [
        f"{image.name} is stored {image.orientation} by its header and {labels.name} "
        f"{labels.orientation}; where either header is wrong, the labels lie mirrored: give both "
        "one orientation, or look at the pictures of fibseg check."
    ]


def read_neighbours(
    stack: Stack, z: int, reach: int, stand_in: Pixels | None = None
) -> list[Pixels]:
    """Read the slices (H, W) around slice z of a grey image, as `Stack.neighbours` lists them.

    Args:
        stack: a grey image.
        z: position of the slice.
        reach: slices on each side.
        stand_in: takes the place of a slice that cannot be read.

    Raises:
        FibsegError: as in `read_finite`, without `stand_in`.
    """
    pictures = []
    for other in stack.neighbours(z, reach):
        try:
            pictures.append(read_finite(stack, other))
        except FibsegError:
            if stand_in is None:
                raise
            pictures.append(stand_in)
    return pictures


def check_depth(stack: Stack, reach: int) -> None:
    """Check that a slice can have neighbours up to `reach` away.

    Raises:
        FibsegError: the stack has too few slices.
    """
    if reach >= stack.shape[0]:
        raise FibsegError(
            f"{stack.name}: {stack.shape[0]} slices; a network of data.context={reach} needs "
            f"{reach + 1} or more."
        )


def read_finite(stack: Stack, z: int) -> Pixels:
    """Read slice z, (H, W), of a grey image.

    Raises:
        FibsegError: a pixel is NaN or infinite, or the slice has become one of another size or type
            since the stack was opened.
    """
    image = stack.read(z)
    # Headers are read once, and a file of a folder may be replaced during the hours that follow.
    before = (*stack.shape[1:], stack.dtype.newbyteorder("="))
    if (*image.shape, image.dtype.newbyteorder("=")) != before:
        raise FibsegError(
            f"{stack.name}, slice {z}: is {' x '.join(map(str, image.shape))} pixels of "
            f"{image.dtype} now, but the stack was opened as {stack.shape[1]} x {stack.shape[2]} "
            f"of {stack.dtype}; put the slice back, or start anew."
        )
    # A single NaN would spread over the percentiles of the training and all activations around it.
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise FibsegError(
            f"{stack.name}, slice {z}: NaN or infinite pixels; replace them in the file."
        )
    return image
