"""Which slices of a volume are for training, validation and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fibseg.data.description import SPLITS, VolumeDescription
from fibseg.data.volume import VolumeReader
from fibseg.errors import FibsegError


def parse_slices(items: Iterable[Any], depth: int, where: str) -> list[int]:
    """Parse integers and "start:stop" or "start:stop:step" texts, each within [0, depth).

    `where` names the key in messages.

    Raises:
        FibsegError: an entry is no slice, is empty, or leaves the image.

    >>> parse_slices([3, "10:16:2"], 20, "split")
    [3, 10, 12, 14]
    """
    positions: list[int] = []
    for item in items:
        try:
            # YAML gives 7 as a number and 0:40 as a text.
            numbers = [int(part) for part in str(item).split(":")]
            # A lone position is a range of one slice.
            if len(numbers) == 1:
                numbers.append(numbers[0] + 1)
            span = range(*numbers)
        except (ValueError, TypeError):
            raise FibsegError(
                f"{where}: '{item}' is no slice; expected 7, '0:40' or '0:40:2'."
            ) from None
        # A range is compared by its ends: "1:99999999999" must not become a list first.
        if not span or min(span[0], span[-1]) < 0 or max(span[0], span[-1]) >= depth:
            raise FibsegError(
                f"{where}: '{item}' is empty or leaves the image, "
                f"which has slices 0 to {depth - 1}."
            )
        positions += span
    return positions


def split_positions(
    volume: VolumeDescription, reader: VolumeReader, where: str
) -> dict[str, list[int]]:
    """List the slices of each split of a volume; `where` names the volume in messages.

    Raises:
        FibsegError: splits overlap or leave the annotated slices.
    """
    unknown = [split for split in volume.split if split not in SPLITS]
    if unknown:
        raise FibsegError(
            f"{where}.split: '{unknown[0]}' is no split; expected {', '.join(SPLITS)}."
        )
    start, stop = reader.annotated
    split_of_slice: dict[int, str] = {}
    positions: dict[str, list[int]] = {}
    for split, items in volume.split.items():
        positions[split] = parse_slices(items, reader.image.shape[0], f"{where}.split.{split}")
        for z in positions[split]:
            if not start <= z < stop:
                raise FibsegError(
                    f"{where}.split.{split}: slice {z} has no labels; "
                    f"they cover slices {start} to {stop - 1}."
                )
            # A slice in two splits would be tested on what was learned from it.
            if z in split_of_slice:
                raise FibsegError(
                    f"{where}.split: slice {z} is in both {split_of_slice[z]} and {split}; "
                    "splits may not overlap."
                )
            split_of_slice[z] = split
    return positions


def split_of(positions: Mapping[str, Sequence[int]], z: int) -> str:
    """Find the split of a slice, "" where it is in none."""
    return next((split for split, slices in positions.items() if z in slices), "")
