"""Which reviewed slices a network learns from, and which judge it: decided once, for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from fibseg.data.splits import nested_order
from fibseg.errors import FibsegError

_VALIDATION_SHARE = 0.2
"""Share of the reviewed slices that judge a round, and never teach one."""


def extended_splits(
    splits: Mapping[str, Sequence[int]], reviewed: Mapping[int, Set[int]]
) -> dict[str, list[int]]:
    """Put reviewed slices that have no split yet into training and validation.

    A slice keeps its split, so that a validation slice never teaches a later round. New validation
    slices lie as far as possible from those before, and leave each class to the training where that
    can be.

    Args:
        splits: slices by split: train, validation, test.
        reviewed: slice -> the classes in its reviewed region.

    Raises:
        FibsegError: there are fewer than two slices to train and validate with.

    >>> extended_splits({}, {3: {1}, 9: {1}, 20: {1}})
    {'train': [3, 20], 'validation': [9], 'test': []}
    """
    train = list(splits.get("train", ()))
    validation = list(splits.get("validation", ()))
    test = list(splits.get("test", ()))
    new = sorted(set(reviewed) - {*train, *validation, *test})
    count = len(train) + len(validation) + len(new)
    if count < 2:
        raise FibsegError(
            f"{count or 'no'} reviewed slice to learn from: at least two are needed, one to train "
            "and one to validate; review a part of another slice."
        )
    wanted = max(1, round(_VALIDATION_SHARE * count))
    while len(validation) < wanted and new and len(train) + len(new) > 1:
        chosen = _next_validation(validation, train, new, reviewed)
        validation.append(chosen)
        new.remove(chosen)
    if not validation:
        raise FibsegError(
            "no reviewed slice is left to validate on: the others are in training already; review "
            "a part of another slice."
        )
    return {"train": sorted(train + new), "validation": sorted(validation), "test": sorted(test)}


def _next_validation(
    validation: Sequence[int],
    train: Sequence[int],
    new: Sequence[int],
    reviewed: Mapping[int, Set[int]],
) -> int:
    """Choose one of the new slices."""
    if validation:
        by_distance = sorted(new, key=lambda z: -min(abs(z - other) for other in validation))
    else:
        by_distance = [new[position] for position in nested_order(len(new))]

    def lost(z: int) -> int:
        """Classes that would be left without a training slice."""
        others = [reviewed.get(other, frozenset()) for other in (*train, *new) if other != z]
        return len(set(reviewed[z]) - set().union(*others))

    # The sort is stable, so that of equal losses the farthest wins.
    return min(by_distance, key=lost)
