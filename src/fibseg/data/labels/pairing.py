"""Where labels lie in their image: by the names of slices, by places in the files, by an offset."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack import Stack, VoxelSize, turned_apart

_ROUNDING = 0.01
"""Share by which sizes of voxels may differ: headers are rounded, and 4.999 nm is 5 nm."""

_WHOLE_VOXEL = 0.1
"""Share of a voxel by which a place in nm may miss the grid of the image."""


@dataclass(frozen=True)
class Placement:
    """Which page of a label stack belongs to which slice of its image.

    Attributes:
        pages: slice of the image -> page of the labels.
        note: says that names decided where an offset alone would have given other slices.
        doubts: sentences on what is odd in the labels, or contradicts this placement.
    """

    pages: dict[int, int]
    note: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def slices(self) -> list[int]:
        """Slices of the image that have a page, in order."""
        return sorted(self.pages)

    @property
    def start(self) -> int:
        """The offset along z of a description: 0 where names have to place single slices."""
        return 0 if self.has_gaps else min(self.pages)

    @property
    def has_gaps(self) -> bool:
        """Whether slices between the first and the last have no page."""
        return len(self.pages) <= max(self.pages) - min(self.pages)


def place_labels(image: Stack, labels: Stack, offset: Sequence[int]) -> Placement:
    """Place labels in their image along z.

    Where both are files of a slice each, and every number in the names of the labels is one of the
    image's, the numbers decide: labels of slices 0, 3, 6 and 9 need no files between. An offset
    along z that is not 0 has been written by a person, and wins over numbers without a gap.

    Raises:
        FibsegError: numbers say that labels are of other slices than of those they would lie on, or
            the files differ in their size of voxels.
    """
    check_same_voxels(image, labels)
    by_offset = {offset[0] + page: page for page in range(labels.shape[0])}
    by_number = _pages_by_number(image, labels)
    if by_number is None:
        doubts = [
            *labels.doubts,
            *_uncompared_numbers(image, labels, offset),
            *_other_place(image, labels, offset),
        ]
        return Placement(by_offset, doubts=tuple(doubts))
    placement = Placement(by_number)
    # The place in z is settled: only y and x are compared with the place in the file.
    doubts = _other_place(image, labels, [placement.slices[0], *offset[1:]])
    # Numbers that are missing in the names do no harm where each file has its place.
    doubts = doubts if placement.has_gaps else [*labels.doubts, *doubts]
    if by_number == by_offset:
        return Placement(by_offset, doubts=tuple(doubts))
    numbers = f"{labels.name}: the numbers in the names say slices {slice_list(placement.slices)}"
    if offset[0] == 0:
        note = f"{numbers} of the image, and were followed."
        return Placement(by_number, note, tuple(doubts))
    if placement.has_gaps:
        raise FibsegError(f"{numbers} of the image; give an offset of 0 along z.")
    start = offset[0]
    contradiction = (
        f"{numbers} of the image, but the offset {list(offset)} says {start} to "
        f"{start + labels.shape[0] - 1}; the offset was followed."
    )
    return Placement(by_offset, doubts=(contradiction, *doubts))


def check_order(image: Stack, pages: Stack, slices: Sequence[int]) -> None:
    """Check that names of pages do not contradict the slices of the image that they belong to.

    Raises:
        FibsegError: a page has the number of another slice of the image than of its own.
    """
    if image.slice_numbers is None or pages.slice_numbers is None:
        return
    numbers = [image.slice_numbers[z] for z in slices]
    for page, (number, expected) in enumerate(zip(pages.slice_numbers, numbers, strict=False)):
        # Numbers that the image does not have are of another kind, as 0, 1, 2 for a few slices.
        if number != expected and set(pages.slice_numbers) <= set(image.slice_numbers):
            raise FibsegError(
                f"{pages.name}: {_file_of(pages, number)}, page {page}, would lie on the slice of "
                f"the image with the number {expected}; correct the order or the names."
            )


def offset_of_labels(image: Stack, labels: Stack) -> list[int] | None:
    """Find where labels start in their image (z, y, x) from names, places and sizes.

    Along z it is 0 where numbers with gaps decide. None where nothing says it.

    Raises:
        FibsegError: as `place_labels`.
    """
    check_same_voxels(image, labels)
    places = _offset_in_files(image, labels)
    offset = None if places is None else [round(place) for place in places]
    same_plane = image.shape[1:] == labels.shape[1:]
    by_number = _pages_by_number(image, labels)
    if by_number is not None and (offset is not None or same_plane):
        return [Placement(by_number).start, *(offset or [0, 0, 0])[1:]]
    if offset is None and image.shape == labels.shape:
        return [0, 0, 0]
    return offset


def check_has_no_gaps(labels: Stack) -> None:
    """Raise FibsegError where labels are of single slices, whose places only an image can tell."""
    if labels.slice_numbers is not None and _gaps(labels.slice_numbers):
        raise FibsegError(
            f"{labels.name}: labels of single slices, {slice_list(labels.slice_numbers)} by their "
            "names; give their image with --image, so that each keeps its place."
        )


def missing_offset(image: Stack, labels: Stack) -> FibsegError:
    """Make the error of labels whose place in the image nothing tells."""
    sizes = f"{labels.name} is {labels.shape} and the image {image.shape}"
    by_number = _pages_by_number(image, labels)
    if by_number is not None:
        return FibsegError(
            f"{sizes}; their names say slices {slice_list(sorted(by_number))}: say where they "
            f"start in y and x with --offset {Placement(by_number).start},y,x."
        )
    if labels.slice_numbers is not None and _gaps(labels.slice_numbers):
        return FibsegError(
            f"{sizes}: the labels are of single slices, {slice_list(labels.slice_numbers)} by "
            "their names, and the image is no folder of slices with such numbers; save it as one, "
            "or the labels as a stack with a page for each slice of the image."
        )
    return FibsegError(f"{sizes}; say where the labels start in it with --offset z,y,x.")


def check_same_voxels(image: Stack, labels: Stack) -> None:
    """Raise FibsegError where two files state voxels of different sizes."""
    if image.voxel_size is None or labels.voxel_size is None:
        return
    if not same_sizes(image.voxel_size, labels.voxel_size):
        raise FibsegError(
            f"{labels.name} has voxels of {size_text(labels.voxel_size)} nm, {image.name} of "
            f"{size_text(image.voxel_size)} nm; bring them to one size, or correct the header that "
            "is wrong."
        )


def same_sizes(first: Sequence[float], second: Sequence[float], share: float = _ROUNDING) -> bool:
    """Whether two sizes of voxels (z, y, x) in nm differ by less than a share."""
    return all(abs(a / b - 1) < share for a, b in zip(first, second, strict=True))


def size_text(size: Sequence[float]) -> str:
    """Write a size of voxels.

    >>> size_text((20.0, 5.0, 4.5))
    '20 x 5 x 4.5'
    """
    return " x ".join(f"{length:.4g}" for length in size)


def slice_list(slices: Sequence[int]) -> str:
    """Write slices for people: all of a few, else the first and the last and their distance.

    >>> slice_list([8, 15]), slice_list([3, 4, 5]), slice_list([0, 10, 20, 30, 40])
    ('8, 15', '3 to 5', '0 to 40 by 10')
    >>> slice_list([7]), slice_list([0, 1, 5, 6, 9, 11])
    ('7', '6 between 0 and 11')
    """
    steps = set(np.diff(slices).tolist())
    if len(slices) > 2 and steps == {1}:
        return f"{slices[0]} to {slices[-1]}"
    if len(slices) < 5:
        return ", ".join(map(str, slices))
    if len(steps) == 1:
        return f"{slices[0]} to {slices[-1]} by {steps.pop()}"
    return f"{len(slices)} between {slices[0]} and {slices[-1]}"


def _gaps(numbers: Sequence[int]) -> bool:
    return len(numbers) <= max(numbers) - min(numbers)


def _pages_by_number(image: Stack, labels: Stack) -> dict[int, int] | None:
    """Match pages of the labels with slices of the image by the numbers in their names.

    None where they have no numbers in common, or where those differ by a constant alone.

    Raises:
        FibsegError: some numbers of the labels are numbers of the image, and some are not.
    """
    if image.slice_numbers is None or labels.slice_numbers is None:
        return None
    numbers = labels.slice_numbers
    slice_of = {number: z for z, number in enumerate(image.slice_numbers)}
    strangers = [number for number in numbers if number not in slice_of]
    if not strangers:
        return {slice_of[number]: page for page, number in enumerate(numbers)}
    if _differ_by_a_start(image.slice_numbers, numbers):
        return None
    # Numbers that have nothing to do with those of the image, as 0 to 39 for a part of 171 to 249.
    if len(strangers) == len(numbers) and not _gaps(numbers):
        return None
    raise FibsegError(
        f"{labels.name}: no slice of the image has the number {strangers[0]} of the file "
        f"{_file_of(labels, strangers[0])} (it has {slice_list(image.slice_numbers)}); give labels "
        "and image the same numbers, or labels of every slice."
    )


def _differ_by_a_start(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether as many slices are numbered from 0 in one stack and from 1 in the other.

    Or from numbers so far apart that none occurs in both.
    """
    if len(first) != len(second):
        return False
    starts = {a - b for a, b in zip(first, second, strict=True)}
    return len(starts) == 1 and (starts <= {-1, 1} or not set(first) & set(second))


def _file_of(stack: Stack, number: int) -> str:
    """Name the file of a folder or glob that has this number in its name."""
    folder = Path(stack.name)
    paths = folder.iterdir() if folder.is_dir() else map(Path, glob.glob(stack.name))
    with_number = [path.name for path in paths if number in map(int, re.findall(r"\d+", path.stem))]
    return min(with_number, default=str(number))


def _uncompared_numbers(image: Stack, labels: Stack, offset: Sequence[int]) -> list[str]:
    """Doubt an order that names do not confirm.

    Raises:
        FibsegError: names say that labels of single slices would follow each other.
    """
    numbers = labels.slice_numbers
    if numbers is None:
        return []
    in_order = f"{labels.name}: files of the numbers {slice_list(numbers)}"
    if image.slice_numbers is not None and offset[0] == 0:
        return [
            f"{in_order}, of an image with {slice_list(image.slice_numbers)}, were taken in order "
            "from its first slice on."
        ]
    if image.slice_numbers is not None or not _gaps(numbers):
        return []
    if labels.shape[0] == image.shape[0]:
        return [f"{in_order} were taken in order, one for each slice of the image."]
    raise FibsegError(
        f"{in_order} are labels of single slices, and {image.name} has {image.shape[0]} slices "
        "without numbers; save the image as a folder of slices with such numbers, or the labels as "
        "a stack with a page for each slice of the image."
    )


def _offset_in_files(image: Stack, labels: Stack) -> list[float] | None:
    """Compute where labels start in their image, in voxels, from the places that files state."""
    size: VoxelSize | None = image.voxel_size or labels.voxel_size
    if image.origin is None or labels.origin is None or size is None:
        return None
    places = zip(labels.origin, image.origin, size, strict=True)
    return [(start - zero) / length for start, zero, length in places]


def _other_place(image: Stack, labels: Stack, offset: Sequence[int]) -> list[str]:
    """Doubt an offset that is not the one which follows from the places in the files."""
    places = _offset_in_files(image, labels)
    doubts = turned_apart(image, labels)
    if places is None:
        return doubts
    misses = max(abs(place - start) for place, start in zip(places, offset, strict=True))
    if misses <= _WHOLE_VOXEL:
        return doubts
    text = ", ".join(f"{place:.4g}" for place in places)
    start = f"{labels.name}: by the places in the files the labels start at [{text}] in the image"
    return [*doubts, f"{start}, and the offset is {list(offset)}."]
