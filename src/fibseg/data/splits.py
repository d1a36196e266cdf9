"""Which slices of a volume are for training, validation and test, and which are proposed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fibseg.data.description import SPLITS, VolumeDescription
from fibseg.data.labels.pairing import slice_list
from fibseg.errors import FibsegError

if TYPE_CHECKING:
    from fibseg.data.volume import VolumeReader

_SPLIT_SHARES = {"validation": 0.2, "test": 0.2}
"""Share of the annotated slices that is proposed for a split; the rest are for training."""

_FEWEST_DENSE_SLICES = 8
"""Of slices that follow each other, from which on some are left out between the splits."""

_GAP_SHARE = 0.05
"""Share of such slices that is left out at each border of two splits."""


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
    annotated = set(reader.annotated)
    split_of_slice: dict[int, str] = {}
    positions: dict[str, list[int]] = {}
    for split, items in volume.split.items():
        positions[split] = parse_slices(items, reader.image.shape[0], f"{where}.split.{split}")
        for z in positions[split]:
            if z not in annotated:
                raise FibsegError(
                    f"{where}.split.{split}: slice {z} has no labels; "
                    f"they cover slices {slice_list(reader.annotated)}."
                )
            # A slice in two splits would be tested on what was learned from it.
            if z in split_of_slice:
                raise FibsegError(
                    f"{where}.split: slice {z} is in both {split_of_slice[z]} and {split}; "
                    "splits may not overlap."
                )
            if reader.reviewed is not None and not reader.reviewed.read(z).any():
                raise FibsegError(
                    f"{where}.split.{split}: nothing of slice {z} is reviewed, as "
                    f"{reader.reviewed.name} has it."
                )
            split_of_slice[z] = split
    return positions


def nested_order(count: int, wanted: int | None = None) -> list[int]:
    """List `wanted` of 0 to count - 1 so that the first, however many, are spread over all of them.

    The middle comes first, then always the one that is farthest from those before it.

    >>> nested_order(10)
    [5, 0, 9, 2, 7, 1, 3, 4, 6, 8]
    """
    positions = np.arange(count)
    distances = np.full(count, count)
    order: list[int] = []
    for _ in range(count if wanted is None else min(wanted, count)):
        # Of several that are equally far, the lowest.
        farthest = int(distances.argmax()) if order else count // 2
        order.append(farthest)
        distances = np.minimum(distances, abs(positions - farthest))
    return order


def split_of(positions: Mapping[str, Sequence[int]], z: int) -> str:
    """Find the split of a slice, "" where it is in none."""
    return next((split for split, slices in positions.items() if z in slices), "")


def proposed_splits(annotated: Sequence[int]) -> dict[str, list[int]]:
    """Divide slices into blocks along z: training, validation, and test from three slices on.

    Where slices follow each other, some are left out between the blocks, unless there are few.

    >>> proposed_splits([0, 5, 10, 15, 20])
    {'train': [0, 5, 10], 'validation': [15], 'test': [20]}
    >>> proposed_splits(range(10))
    {'train': [0, 1, 2, 3], 'validation': [5, 6], 'test': [8, 9]}
    """
    # Blocks and not every third slice: neighbours look alike, so mixed splits would leak.
    dense = len(annotated) >= _FEWEST_DENSE_SLICES and float(np.median(np.diff(annotated))) == 1
    gap = max(1, round(_GAP_SHARE * len(annotated))) if dense else 0
    count = len(annotated) - 2 * gap
    # At least one slice to validate on, since a training keeps the weights of its best validation.
    validation = max(1, round(_SPLIT_SHARES["validation"] * count))
    test = max(1, round(_SPLIT_SHARES["test"] * count)) if count > 2 else 0
    train = count - validation - test
    first = train + gap
    positions = {
        "train": list(annotated[:train]),
        "validation": list(annotated[first : first + validation]),
    }
    if test:
        positions["test"] = list(annotated[first + validation + gap :])
    return positions


def compact_slices(positions: Sequence[int]) -> str:
    """Write slices as YAML, as short as a description allows.

    >>> compact_slices([0, 5, 10]), compact_slices([3, 4, 5])
    ('["0:11:5"]', '["3:6"]')
    >>> compact_slices([7]), compact_slices([1, 2, 9])
    ('[7]', '[1, 2, 9]')
    """
    # Two slices are shorter as a list than as a range.
    steps = set(np.diff(positions).tolist())
    if len(positions) < 3 or len(steps) != 1:
        return str(list(positions))
    (step,) = steps
    return f'["{positions[0]}:{positions[-1] + 1}{"" if step == 1 else f":{step}"}"]'
