"""Measures of objects in physical units, worked out by hand."""

from __future__ import annotations

import pytest

from fibseg.scores.measures import VOXELS, measure_classes
from tests.support.bodies import SPACING, TWO_OBJECTS


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
