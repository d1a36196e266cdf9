"""Measures of objects in physical units, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fibseg.scores.measures import VOXELS, ObjectMeasures, measure_classes

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


def test_a_summary_in_voxels() -> None:
    unit = (1.0, 1.0, 1.0)
    present = measure_classes(TWO_OBJECTS, ["a", "er"], unit, (4, 5, 5), VOXELS)[1]
    assert (present.volume, present.median, present.surface) == (10, 5, 4e6)
