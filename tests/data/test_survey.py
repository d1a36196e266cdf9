"""A survey as a notebook calls it: what it gives, and what it reports meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.arrays import Place
from fibseg.data.description import ClassDescription, IntensityDescription
from fibseg.data.inspection.survey import survey
from fibseg.data.volume import read_places
from fibseg.errors import FibsegError
from fibseg.stack import StackHeader, StackWriter
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


def test_test_slices_beside_training_slices_of_a_copy(phantom_folder: Path, tmp_path: Path) -> None:
    """The same image listed twice, under two names: slice 4 of a copy beside slice 3."""
    for name in ("image", "labels"):
        pixels = tifffile.imread(phantom_folder / f"{name}.tif")
        for copy in (f"{name}.tif", f"{name}2.tif"):
            tifffile.imwrite(tmp_path / copy, pixels)
    copied = {"image": "image2.tif", "labels": "labels2.tif", "split": {"test": [4, 8]}}
    description = describe(tmp_path, {"split": {"train": ["0:4"], "validation": [6]}})
    description.volumes += describe(tmp_path, copied).volumes
    result = survey(description)
    beside = "volumes 1 and 0 are the same image, and 1 test slices of volume 1 lie beside training"
    assert [finding.text for finding in result.findings if "same image" in finding.text] == [
        f"{beside} slices of volume 0; leave slices between."
    ]
    assert result.errors == []
    description.volumes[1].split = {"test": [3]}
    (error,) = survey(description).errors
    assert error.text == (
        "data: slice 3 of image2.tif, a copy of slice 3 of image.tif, is in both train and test."
    )


def test_what_files_say_of_themselves(tmp_path: Path) -> None:
    """Sparse labels by their names, voxels that differ, a prediction among the labels."""
    pixels = np.random.default_rng(0).integers(0, 200, (6, 40, 40)).astype(np.uint8)
    labels = np.zeros_like(pixels)
    labels[:, 5:20, 5:20] = 1
    (tmp_path / "raw").mkdir()
    (tmp_path / "sparse").mkdir()
    for z in range(6):
        tifffile.imwrite(tmp_path / "raw" / f"z{z}.tif", pixels[z])
        if z % 2:
            tifffile.imwrite(tmp_path / "sparse" / f"z{z}.tif", labels[z])
    tifffile.imwrite(tmp_path / "image.tif", pixels + 1)
    header = StackHeader(labels.shape, "uint8", [20, 5, 5], {"identity": {}, "classes": {}})
    with StackWriter(tmp_path / "predicted.tif", header) as writer:
        for page in labels:
            writer.write(page)
    volume = {"image": "raw", "labels": "sparse", "split": {"train": [1], "validation": [5]}}
    description = describe(tmp_path, volume, classes={"er": ClassDescription(1, 1.0)})
    predicted = volume | {"image": "image.tif", "labels": "predicted.tif", "split": {"test": [2]}}
    description.volumes += describe(tmp_path, predicted | {"voxel_size": [20, 5, 8]}).volumes
    findings = {finding.text: finding.level for finding in survey(description).findings}
    expected = {
        "names say slices 1, 3, 5 of the image, and were followed": "note",
        "volume 1 has voxels of 20 x 5 x 8 nm and volume 0 of 20 x 5 x 5 nm": "warning",
        "predicted.tif: a prediction of fibseg; only slices that a person": "warning",
    }
    for part, level in expected.items():
        assert [findings[text] for text in findings if part in text] == [level]
