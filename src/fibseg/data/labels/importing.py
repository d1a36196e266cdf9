"""Labels that people painted in other programs, as a TIFF of class numbers.

Each program marks unannotated pixels in its own way: ilastik by 0, while in napari and MIB an
untouched slice is all 0, as background is. Here they become 255, so that they are neither trained
on nor scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Mask, Pixels, UInt8
from fibseg.data.labels.files import colour_text
from fibseg.data.labels.pairing import (
    check_has_no_gaps,
    missing_offset,
    offset_of_labels,
    place_labels,
)
from fibseg.data.labels.reviewed import Reviewed
from fibseg.errors import FibsegError
from fibseg.stack import Stack, StackHeader, StackWriter, VoxelSize, part_of


@dataclass(frozen=True)
class LabelMeaning:
    """What the values of another program's labels mean.

    Attributes:
        classes: class -> its values.
        background: values that are annotated and none of the classes.
        unlabelled: values of unannotated pixels; 0 is background unless it is among them.
        empty_is_unlabelled: whether a slice of nothing but 0 is unannotated.
        coloured: whether the values are colours, red * 65536 + green * 256 + blue.
    """

    classes: Mapping[str, Sequence[int]]
    background: Sequence[int]
    unlabelled: Sequence[int]
    empty_is_unlabelled: bool
    coloured: bool = False

    def numbers(self) -> dict[int, int]:
        """Label value -> class number.

        The classes are 1, 2, ... in their order, background is 0, and unannotated pixels are 255,
        as in labels that were imported before.

        Raises:
            FibsegError: a value is claimed twice.
        """
        # Collected first: a value is claimed twice whichever two meanings claim it.
        claims = [(value, 0) for value in self.background]
        claims += [(value, IGNORE) for value in self.unlabelled]
        for number, values in enumerate(self.classes.values(), 1):
            claims += [(value, number) for value in values]
        numbers: dict[int, int] = {}
        for value, number in claims:
            if value in numbers:
                raise FibsegError(
                    f"value {self.text(value)} is claimed twice; every value means one thing."
                )
            numbers[value] = number
        # Most programs write 0 where nothing is painted, so users rarely name it.
        numbers.setdefault(0, 0)
        if not self.coloured:
            numbers.setdefault(IGNORE, IGNORE)
        return numbers

    def text(self, value: int) -> str:
        """Write a value as the command line has it: a colour as #rrggbb."""
        return colour_text(value) if self.coloured else str(value)

    def notes(self) -> dict[str, Any]:
        """Name the class numbers in the notes of the file that holds them."""
        return {"classes": {"0": "background"} | {str(k): c for k, c in enumerate(self.classes, 1)}}


def class_numbers_of(labels: Pixels, numbers: Mapping[int, int]) -> tuple[UInt8, list[int]]:
    """Number the classes (H, W) of label values (H, W), 255 for a value without one.

    Also gives the values that occur.

    >>> class_numbers_of(np.array([[0, 700]]), {0: 0, 700: 2})
    (array([[0, 2]], dtype=uint8), [0, 700])
    """
    # Values may be large, so the table is indexed by their rank and not by themselves.
    values, inverse = np.unique(labels, return_inverse=True)
    table = np.array([numbers.get(value, IGNORE) for value in values.tolist()], np.uint8)
    return np.asarray(table[inverse].reshape(labels.shape)), values.tolist()


@dataclass(frozen=True)
class ImportedLabels:
    """Counts over the labels that were written.

    Attributes:
        depth: slices that were written.
        annotated: slices with any annotation.
        shares: of each class number among the annotated pixels.
        ignored: share of unannotated pixels.
        marked: whether the file itself marked unannotated pixels.
        emptied: slices of nothing but 0 that became unannotated.
    """

    depth: int
    annotated: int
    shares: list[float]
    ignored: float
    marked: bool
    emptied: int


@dataclass(frozen=True)
class ImportPlan:
    """Which pages of labels become which slices, and where these lie in the image.

    Attributes:
        pages: the page that becomes each slice that is written, None for an unannotated slice.
        offset: (z, y, x) in pixels where the slices start in the image.
        voxel_size: (z, y, x) in nm, None where no file has it.
        notes: sentences on what the files decided.
        doubts: sentences on what is odd in the files, or contradicts them.
    """

    pages: list[int | None]
    offset: list[int]
    voxel_size: VoxelSize | None
    notes: list[str]
    doubts: list[str]


def plan_import(
    image: Stack | None,
    labels: Stack,
    offset: Sequence[int] | None,
    annotated: Sequence[int] | None,
) -> ImportPlan:
    """Place labels in their image; slices between labels of single slices are unannotated.

    `annotated` are the pages that a person has annotated; None for all.

    Raises:
        FibsegError: nothing says where the labels lie, or they leave the image.
    """
    kept = set(range(labels.shape[0]) if annotated is None else annotated)
    in_order = [page if page in kept else None for page in range(labels.shape[0])]
    if image is None:
        check_has_no_gaps(labels)
        start = [0, 0, 0] if offset is None else list(offset)
        return ImportPlan(
            pages=in_order,
            offset=start,
            voxel_size=labels.voxel_size,
            notes=[],
            doubts=list(labels.doubts),
        )
    place = offset_of_labels(image, labels) if offset is None else offset
    if place is None:
        raise missing_offset(image, labels)
    placement = place_labels(image, labels, place)
    # Single slices are written with all slices of the image, so that no offset is needed.
    first = 0 if placement.has_gaps else placement.slices[0]
    depth = image.shape[0] if placement.has_gaps else labels.shape[0]
    start = [first, *place[1:]]
    # Raises where the labels leave the image, before anything is written.
    part_of(image, start, (depth, *labels.shape[1:]))
    page_of = {z - first: page for z, page in placement.pages.items() if page in kept}
    return ImportPlan(
        pages=[page_of.get(k) for k in range(depth)],
        offset=start,
        # Either file may lack it; they agree where both have it.
        voxel_size=labels.voxel_size or image.voxel_size,
        notes=[placement.note] if placement.note else [],
        doubts=[*image.doubts, *placement.doubts],
    )


def import_labels(
    stack: Stack,
    meaning: LabelMeaning,
    output: Path,
    pages: Sequence[int | None] | None = None,
    voxel_size: VoxelSize | None = None,
    reviewed: Reviewed | None = None,
) -> ImportedLabels:
    """Write class numbers, slice by slice, as TIFF or Zarr.

    Args:
        stack: labels of another program.
        meaning: of their values.
        output: TIFF or Zarr to write.
        pages: the page of `stack` that becomes each slice, None for an unannotated slice; without
            it, all pages in order.
        voxel_size: (z, y, x) in nm; without it, that of the stack.
        reviewed: where a person has looked, in pixels of what is written; None for everywhere.

    Raises:
        FibsegError: a value is claimed by nothing, or twice, or the labels hold no class.
    """
    pages = range(stack.shape[0]) if pages is None else pages
    shape = (len(pages), *stack.shape[1:])
    header = StackHeader(shape, "uint8", voxel_size or stack.voxel_size, meaning.notes())
    counter = _Counter(meaning, stack.name)
    everywhere = np.ones(shape[1:], bool)
    with StackWriter(output, header) as writer:
        for z, page in enumerate(pages):
            if page is None:
                writer.write(np.full(shape[1:], IGNORE, np.uint8))
                continue
            region = everywhere if reviewed is None else reviewed.read(z)
            writer.write(counter.class_numbers(stack.read(page), page, region))
        # Inside the block: nothing is left where the labels hold none of the classes.
        return counter.result(pages)


class _Counter:
    """Numbers the classes of slices, and counts what they hold."""

    def __init__(self, meaning: LabelMeaning, name: str):
        self._meaning = meaning
        self._numbers = meaning.numbers()
        self._name = name
        # Class numbers are uint8, so 256 counters hold them all.
        self._counts = np.zeros(256, np.int64)
        self._annotated = 0
        self._emptied = 0
        self._values = set[int]()

    def class_numbers(self, labels: Pixels, page: int, region: Mask) -> UInt8:
        """Number the classes (H, W) of label values, unannotated outside the region (H, W).

        Raises:
            FibsegError: a value has no number.
        """
        # What is painted outside has no part in anything.
        labels = np.where(region, labels, np.zeros_like(labels))
        classes, values = class_numbers_of(labels, self._numbers)
        unknown = [value for value in values if value not in self._numbers]
        if unknown:
            raise FibsegError(self._unknown_value(unknown, f"{self._name}, slice {page}"))
        self._values.update(values)
        # In napari and MIB only whole slices tell unpainted pixels from background.
        if self._meaning.empty_is_unlabelled and not (labels != 0).any():
            classes[:] = IGNORE
            self._emptied += 1
        classes[~region] = IGNORE
        self._annotated += bool((classes != IGNORE).any())
        self._counts += np.bincount(classes.ravel(), minlength=256)
        return classes

    def _unknown_value(self, unknown: Sequence[int], where: str) -> str:
        text = self._meaning.text
        known = ", ".join(text(value) for value in sorted(self._numbers))
        values = ", ".join(text(value) for value in unknown[:8])
        example = text(unknown[0])
        # A negative value is no class of any program: it says that nobody looked.
        hint = (
            f"give --unlabelled {example}, --background {example} or --class NAME={example}"
            if unknown[0] < 0
            else f"give --class NAME={example}, --background {example} or --unlabelled {example}"
        )
        which = f"value {values} belongs" if len(unknown) == 1 else f"values {values} belong"
        return f"{where}: {which} to no class (known: {known}); {hint}."

    def result(self, pages: Sequence[int | None]) -> ImportedLabels:
        """Give the counts; FibsegError where the labels hold none of the classes."""
        classes = {value for values in self._meaning.classes.values() for value in values}
        held = sorted(self._values)
        if not classes & self._values and self._values - {0}:
            raise FibsegError(
                f"{self._name}: holds none of the classes' values, but "
                f"{', '.join(map(self._meaning.text, held[:8]))}; name a class by --class "
                f"NAME={self._meaning.text(held[-1])}."
            )
        ignored = self._counts[IGNORE]
        written = int(self._counts.sum())
        # At least 1, for labels without any annotation.
        annotated_pixels = max(1, written - int(ignored))
        skipped = sum(page is None for page in pages) / len(pages)
        return ImportedLabels(
            depth=len(pages),
            annotated=self._annotated,
            shares=(self._counts / annotated_pixels).tolist(),
            ignored=float(ignored / max(1, written)) * (1 - skipped) + skipped,
            marked=any(self._numbers[value] == IGNORE for value in held),
            emptied=self._emptied,
        )
