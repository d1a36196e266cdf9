"""A survey as a notebook calls it: what it gives, and what it reports meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.arrays import Place
from fibseg.data.description import IntensityDescription
from fibseg.data.inspection.survey import survey
from fibseg.data.volume import read_places
from fibseg.errors import FibsegError
from tests.support import describe


def test_a_survey_of_good_data(phantom_folder: Path) -> None:
    reports: list[tuple[int, int, int]] = []
    result = survey(describe(phantom_folder), lambda *report: reports.append(report))
    assert result.errors == []
    assert result.names == ["background", "mitochondrion", "membrane", "er"]
    assert [facts.z for facts in result.slices] == list(range(9))
    splits = [*["train"] * 4, *["validation"] * 2, "", "test", "test"]
    assert [facts.split for facts in result.slices] == splits
    assert reports == [(0, done, 9) for done in range(9)]


def test_the_grey_range_is_that_of_the_training_slices(phantom_folder: Path) -> None:
    """The phantom's slices are small enough that every second pixel is in the sample."""
    image = tifffile.imread(phantom_folder / "image.tif")[:4]
    description = describe(phantom_folder, intensity=IntensityDescription(1, 99, "slice"))
    grey_range = survey(description).grey_range
    low, high = np.percentile(image, [1, 99])
    assert (grey_range.low, grey_range.high) == (
        pytest.approx(low, abs=4),
        pytest.approx(high, abs=4),
    )
    assert grey_range.percentiles == (1, 99)


def test_slices_to_show_are_read_again(phantom_folder: Path) -> None:
    description = describe(phantom_folder)
    result = survey(description)
    assert [place.z for place in result.places_to_show] == [0, 1, 2, 3, 4, 5, 7, 8]
    slices = list(read_places(description, result.places_to_show))
    assert [entry.place for entry in slices] == result.places_to_show
    image = tifffile.imread(phantom_folder / "image.tif")
    for entry in slices:
        np.testing.assert_array_equal(entry.image, image[entry.z])


def test_a_contradiction_ends_the_survey_before_files_are_read(tmp_path: Path) -> None:
    result = survey(describe(tmp_path, classes={}))
    assert [finding.level for finding in result.findings] == ["error"]
    assert (result.slices, result.places_to_show) == ([], [])


def test_unreadable_slices_end_the_reading_of_a_volume(phantom_folder: Path) -> None:
    """After eight errors the rest of the volume is not read; a survey never raises."""
    description = describe(phantom_folder, {"split": {"train": ["0:9"]}})
    classes = description.classes
    description = replace(description, classes={"er": classes["er"]})
    result = survey(description)
    assert len(result.errors) == 8
    assert result.errors[-1].text.endswith("Further slices were not read.")
    with pytest.raises(FibsegError, match="claimed by no class"):
        list(read_places(description, [Place(0, 0)]))
