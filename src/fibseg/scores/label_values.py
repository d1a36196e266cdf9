"""Label values as classes: which values of a label stack are classes, their names and indices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Pixels, UInt8
from fibseg.scores.slabs import ReadClasses


def distinct_values(slices: Iterable[Pixels]) -> list[int]:
    """List every value but 0 in slices (H, W) of labels, in ascending order.

    >>> distinct_values([np.array([[0, 7], [7, 255]]), np.array([[3, 0]])])
    [3, 7, 255]
    """
    values = set[int]()
    for labels in slices:
        values.update(np.unique(labels).tolist())
    return sorted(values - {0})


def annotated_values(values: Sequence[int]) -> list[int]:
    """Choose the values that are classes where nothing names them: all but 255 for unannotated.

    A mask of 0 and 255 keeps its only value.

    >>> annotated_values([3, 7, 255]), annotated_values([255])
    ([3, 7], [255])
    """
    annotated = [value for value in values if value != IGNORE]
    return annotated or list(values)


def noted_names(notes: Mapping[str, Any]) -> dict[int, str] | None:
    """Read label value -> class name from the notes of a stack that predict.py wrote; None without.

    >>> noted_names({"classes": {"0": "background", "9": "er"}})
    {9: 'er'}
    """
    classes = notes.get("classes")
    if not isinstance(classes, dict):
        return None
    # JSON has texts as keys.
    return {int(value): str(name) for value, name in classes.items() if name != "background"}


def class_reader(read: Callable[[int], Pixels], values: Iterable[int]) -> ReadClasses:
    """Turn a reader of label values (H, W) into one of class indices.

    The smallest of the `values` becomes class 1, the next one class 2; any other value becomes 0.

    >>> class_reader(lambda z: np.array([[0, 9, 7, 8]]), [7, 9])(0).tolist()
    [[0, 2, 1, 0]]
    """
    # Sorted and searched: a table indexed by value would be huge for 32-bit labels.
    ordered = np.array(sorted(values), np.int64)

    def read_classes(z: int) -> UInt8:
        labels = read(z).astype(np.int64)
        # Where a value would be inserted is its place if it is there at all, which is checked.
        places = np.searchsorted(ordered, labels).clip(0, len(ordered) - 1)
        return np.where(ordered[places] == labels, places + 1, 0).astype(np.uint8)

    return read_classes
