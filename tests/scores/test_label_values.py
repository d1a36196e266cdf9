"""Which values of a label stack are classes, and their indices."""

from __future__ import annotations

import numpy as np

from fibseg.scores.label_values import (
    annotated_values,
    class_reader,
    distinct_values,
    noted_names,
)


def test_values_far_apart_and_below_zero_become_classes_in_ascending_order() -> None:
    stack = np.array([[[0, -(2**30)], [7, 70_000]], [[255, 7], [0, 1]]], np.int32)
    values = distinct_values(stack)
    assert values == [-(2**30), 1, 7, 255, 70_000]
    read = class_reader(lambda z: stack[z], values)
    assert read(0).tolist() == [[0, 1], [3, 5]]
    assert read(1).tolist() == [[4, 3], [0, 2]]
    assert read(0).dtype == np.uint8


def test_values_that_are_no_class_become_background() -> None:
    read = class_reader(lambda _: np.array([[3, 4, 9]], np.uint8), [4])
    assert read(0).tolist() == [[0, 1, 0]]


def test_255_marks_unannotated_pixels_unless_it_is_the_only_value() -> None:
    assert annotated_values([1, 255]) == [1]
    assert annotated_values([255]) == [255]
    assert annotated_values([]) == []


def test_notes_without_classes_name_nothing() -> None:
    assert noted_names({}) is None
    assert noted_names({"classes": ["er"]}) is None
    assert noted_names({"classes": {"0": "background"}}) == {}
