"""Measures of objects in physical units, worked out by hand."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fibseg.scores.measures import OBJECT_COLUMNS, ObjectMeasures, measure_classes, objects_csv

SPACING = (20.0, 5.0, 4.0)
TWO_OBJECTS = ObjectMeasures(
    class_index=np.array([2, 2]),
    voxels=np.array([8, 2]),
    low=np.array([[1, 2, 3], [0, 0, 0]]),
    high=np.array([[2, 3, 4], [1, 0, 0]]),
    centre=np.array([[1.5, 2.5, 3.5], [0.5, 0.0, 0.0]]),
    surface=np.array([3e6, 1e6]),
    border=np.array([False, True]),
)


def test_a_row_per_object() -> None:
    text = objects_csv(TWO_OBJECTS, ["mitochondrion", "er"], SPACING)
    assert "\r" not in text
    rows = list(csv.DictReader(text.splitlines()))
    assert tuple(rows[0]) == OBJECT_COLUMNS
    # 8 voxels of 20 x 5 x 4 nm are 3200 nm^3; the centre lies on the corner of four voxels.
    values = ["1", "er", "8", "3.2e-06", "3", "40.0", "10.0", "8.0", "40.0", "15.0", "16.0", "no"]
    assert list(rows[0].values()) == values
    assert rows[1]["touches_border"] == "yes"


def test_a_summary_per_class() -> None:
    absent, present = measure_classes(TWO_OBJECTS, ["mitochondrion", "er"], SPACING, (4, 5, 5))
    assert (absent.name, absent.objects, absent.median, absent.volume) == (
        "mitochondrion",
        0,
        None,
        0,
    )
    assert (present.name, present.objects, present.at_border) == ("er", 2, 1)
    assert present.volume == pytest.approx(10 * 400 / 1e9)
    assert present.share == pytest.approx(0.1)
    assert present.median == pytest.approx(5 * 400 / 1e9)
    assert present.surface == pytest.approx(4)
