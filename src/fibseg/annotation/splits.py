"""Which reviewed slices a network learns from, and which judge it: decided once, for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from fibseg.data.splits import nested_order
from fibseg.errors import FibsegError

_VALIDATION_SHARE = 0.2
"""Share of the reviewed slices that judge a round, and never teach one."""


def extended_splits(
    splits: Mapping[str, Sequence[int]],
    reviewed: Mapping[int, Set[int]],
    accepted: Set[int] = frozenset(),
) -> dict[str, list[int]]:
    """Put reviewed slices that have no split yet into training and validation.

    A slice keeps its split, so that a validation slice never teaches a later round. New validation
    slices lie as far as possible from those before, and leave each class to the training where that
    can be.

    Args:
        splits: slices by split: train, validation, test.
        reviewed: slice -> the classes in its reviewed region.
        accepted: slices whose labels are a model's proposal as it was. They judge only where there
            are no others: a model agrees with itself.

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
        painted = [z for z in new if z not in accepted]
        candidates = painted or ([] if validation else new)
        if not candidates:
            break
        known = {z: reviewed.get(z, frozenset()) for z in (*train, *new)}
        chosen = _next_validation(validation, candidates, known)
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
    candidates: Sequence[int],
    known: Mapping[int, Set[int]],
) -> int:
    """Choose one of the candidates; `known` are the classes of all slices that may train."""
    if validation:
        by_distance = sorted(candidates, key=lambda z: -min(abs(z - v) for v in validation))
    else:
        by_distance = [candidates[position] for position in nested_order(len(candidates))]

    def lost(z: int) -> int:
        """Classes that would be left without a training slice."""
        others = [classes for other, classes in known.items() if other != z]
        return len(set(known[z]) - set().union(*others))

    # The sort is stable, so that of equal losses the farthest wins.
    return min(by_distance, key=lost)
