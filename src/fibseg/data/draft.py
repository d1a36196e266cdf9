"""What a data description of some files would say: classes, places, splits."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import IGNORE
from fibseg.data.labels.pairing import missing_offset, offset_of_labels, place_labels
from fibseg.data.labels.reviewed import Reviewed
from fibseg.data.splits import proposed_splits
from fibseg.errors import FibsegError
from fibseg.stack import Stack

MOST_LABEL_VALUES = 24
"""Labels with more values than this hold objects with a number each, not classes."""


_UNSIGNED_MINUS_ONE = {2**bits - 1 for bits in (16, 32, 64)}
"""What -1 for unannotated pixels becomes where a program saves unsigned numbers."""


@dataclass(frozen=True)
class Draft:
    """What is in the files of a data description.

    Attributes:
        depth: slices of the image.
        label_depth: slices of the labels that were read.
        offset: (z, y, x) in pixels where the labels start in the image.
        voxel_size: (z, y, x) in nm, None where neither file has it.
        values: label value -> its share of all label pixels.
        ignore: label value of unannotated pixels; None where there is none.
        annotated: slices of the image in which there is a class.
        positions: split -> proposed slices.
        notes: sentences on what the files decided.
        doubts: sentences on what is odd in the files, or contradicts them.
    """

    depth: int
    label_depth: int
    offset: list[int]
    voxel_size: list[float] | None
    values: dict[int, float]
    ignore: int | None
    annotated: list[int]
    positions: dict[str, list[int]]
    notes: list[str]
    doubts: list[str]

    @property
    def left_out(self) -> int:
        """Annotated slices that lie between the splits."""
        return len(self.annotated) - sum(map(len, self.positions.values()))

    @property
    def class_values(self) -> list[int]:
        """Label values of the classes, in ascending order."""
        return [value for value in self.values if value not in (0, self.ignore)]


@dataclass(frozen=True)
class DraftRequest:
    """What a person says of the files of a draft.

    Attributes:
        offset: (z, y, x) in pixels where the labels start in the image; None where the files or
            the shapes tell it.
        voxel_size: (z, y, x) in nm; without it, that of the image, else that of the labels.
        named_values: label values that have a class name. Every other value is a class, too, but
            for 0, 255 and negative ones.
        slices: slices of the labels that are annotated; None for all that hold a class.
        reviewed: where a person has looked, in pixels of the image; its slices are the annotated
            ones, and labels outside do not count.
    """

    offset: Sequence[int] | None = None
    voxel_size: Sequence[float] | None = None
    named_values: Container[int] = ()
    slices: Sequence[int] | None = None
    reviewed: Reviewed | None = None


def draft_from_stacks(image: Stack, labels: Stack, request: DraftRequest) -> Draft:
    """Read labels slice by slice and propose splits.

    A slice counts as annotated where any class is in it.

    Raises:
        FibsegError: nothing says where the labels lie in the image, or they lie outside it, hold
            nothing, or hold instances.
    """
    voxel_size = request.voxel_size
    # NaN fails this as well: it compares false with everything.
    if voxel_size is not None and not all(0 < size < float("inf") for size in voxel_size):
        raise FibsegError(f"--voxel-size: {list(voxel_size)}; expected three sizes above 0, in nm.")
    offset = request.offset
    if offset is None:
        offset = offset_of_labels(image, labels)
    # Smaller labels fit in many places, and a wrong one would be trained on without an error.
    if offset is None:
        raise missing_offset(image, labels)
    placement = place_labels(image, labels, offset)
    _check_inside_image(image, labels, offset, "yx" if placement.note else "zyx")
    pages = range(labels.shape[0]) if request.slices is None else request.slices
    # Slices are counted in the image from here on, as in a description.
    slice_of = {page: z for z, page in placement.pages.items()}
    region = request.reviewed
    if region is not None:
        region = region.part([0, *offset[1:]], (image.shape[0], *labels.shape[1:]))
        region = region.by_page(slice_of)
        pages = [page for page in pages if page in set(region.slices)]
    values, annotated = _read_values(labels, request.named_values, pages, region)
    positions = sorted(slice_of[page] for page in annotated)
    # Label programs often lose the voxel size, so the image's goes first.
    known_size = voxel_size or image.voxel_size or labels.voxel_size
    return Draft(
        depth=image.shape[0],
        label_depth=len(pages),
        offset=list(offset),
        voxel_size=list(known_size) if known_size else None,
        values=values,
        ignore=_unannotated_value(values, request.named_values, labels.name),
        annotated=positions,
        positions=proposed_splits(positions),
        notes=[placement.note] if placement.note else [],
        doubts=[*image.doubts, *placement.doubts],
    )


def _check_inside_image(image: Stack, labels: Stack, offset: Sequence[int], axes: str) -> None:
    sides = zip("zyx", offset, labels.shape, image.shape, strict=True)
    for axis, start, size, image_size in sides:
        if axis in axes and (start < 0 or start + size > image_size):
            raise FibsegError(
                f"{labels.name}: shape {labels.shape} at offset {list(offset)} lies outside "
                f"the image {image.shape} along {axis}; say where the labels start with "
                "--offset z,y,x."
            )


def _read_values(
    labels: Stack, named_values: Container[int], pages: Iterable[int], reviewed: Reviewed | None
) -> tuple[dict[int, float], list[int]]:
    """Read the share of each label value, and the pages of the labels that hold a class.

    `reviewed` is the region of each page; with it, the pages that hold a part of it count.
    """
    counts: dict[int, int] = {}
    annotated = []
    any_class = False
    for z in pages:
        looked_at = labels.read(z)
        if reviewed is not None:
            looked_at = looked_at[reviewed.read(z)]
        values, numbers = np.unique(looked_at, return_counts=True)
        slice_counts = {
            int(value): count
            for value, count in zip(values.tolist(), numbers.tolist(), strict=True)
        }
        for value, count in slice_counts.items():
            counts[value] = counts.get(value, 0) + count
        has_class = any(_is_class(value, named_values) for value in slice_counts)
        any_class |= has_class
        if has_class or (reviewed is not None and slice_counts):
            annotated.append(z)
        # Within the loop: labels with millions of objects would fill the memory.
        if len(counts) > MOST_LABEL_VALUES:
            raise FibsegError(
                f"{labels.name}: over {MOST_LABEL_VALUES} label values: "
                "objects with a number each, not classes?"
            )
    if not any_class:
        # Negative numbers, and 255 after an import, mean that nobody looked.
        unnamed = [value for value in counts if value]
        hint = f"; if {unnamed[0]} is a class, give --class NAME={unnamed[0]}" if unnamed else ""
        held = " and ".join(map(str, sorted({0, IGNORE, *counts})))
        raise FibsegError(f"{labels.name}: nothing but {held}; there is no annotation{hint}.")
    if len(annotated) < 2:
        raise FibsegError(
            f"{labels.name}: one annotated slice; "
            "at least two are needed, to train and to validate."
        )
    total = sum(counts.values())
    return {value: counts[value] / total for value in sorted(counts)}, annotated


def _is_class(value: int, named_values: Container[int]) -> bool:
    """Whether a value is a class: 0 is background, and 255 and negative values need a name."""
    return value in named_values or (value > 0 and value != IGNORE)


def _unannotated_value(
    values: Iterable[int], named_values: Container[int], name: str
) -> int | None:
    """Find the value of unannotated pixels: 255 or a negative one that has no class name.

    Raises:
        FibsegError: there are several, or a value that may be -1 in unsigned numbers.
    """
    unnamed = [value for value in values if value and value not in named_values]
    unannotated = [value for value in unnamed if not _is_class(value, named_values)]
    if len(unannotated) > 1:
        first, second = unannotated[:2]
        raise FibsegError(
            f"{name}: {first} and {second} both mean unannotated, unless they have a class name, "
            "and a description has one such value; make them one by fibseg import --unlabelled."
        )
    odd = [value for value in unnamed if value in _UNSIGNED_MINUS_ONE]
    # The only value of a mask is its class, whatever it is.
    if odd and len(unnamed) > 1:
        raise FibsegError(
            f"{name}: value {odd[0]} is -1 in unsigned numbers: unannotated? Then write it as 255 "
            f"by fibseg import with --unlabelled {odd[0]}; else give --class NAME={odd[0]}."
        )
    return unannotated[0] if unannotated else None
