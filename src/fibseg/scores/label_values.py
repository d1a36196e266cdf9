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
    """Choose the values that are classes where nothing names them.

    All but 255 and negative ones, which mean unannotated. A mask of a single value keeps it.

    >>> annotated_values([-1, 3, 7, 255]), annotated_values([255]), annotated_values([-8])
    ([3, 7], [255], [-8])
    """
    annotated = [value for value in values if value != IGNORE]
    return [value for value in annotated if value > 0] or annotated or list(values)


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
    classes = list(enumerate(sorted(values), 1))

    def read_classes(z: int) -> UInt8:
        labels = read(z)
        # 64 bits with the labels' sign hold negative values, and ids above 2^63.
        wide = np.uint64 if labels.dtype.kind == "u" else np.int64
        limits = np.iinfo(wide)
        held = [(index, v) for index, v in classes if limits.min <= v <= limits.max]
        # Sorted and searched: a table indexed by value would be huge for 32-bit labels. The last
        # entry is a class of no value, for labels that hold none of the others.
        indices = np.array([*(index for index, _ in held), 0], np.uint8)
        ordered = np.array([value for _, value in held], wide)
        labels = labels.astype(wide)
        # Where a value would be inserted is its place if it is there at all, which is checked.
        places = np.searchsorted(ordered, labels)
        is_held = np.isin(labels, ordered)
        return indices[np.where(is_held, places, len(held))]

    return read_classes
