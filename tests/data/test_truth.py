"""The scored slices of a data set, written once beside its runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.data.truth import write_truth
from fibseg.stack import read_pages
from tests.support import SPLIT, describe


def test_truth_is_written_once_page_by_page(phantom_folder: Path, tmp_path: Path) -> None:
    slices = load_slices(describe(phantom_folder))
    class_names = ["background", "mitochondrion", "membrane", "er"]
    write_truth(tmp_path, slices, class_names)
    content = json.loads((tmp_path / "truth.json").read_text())
    assert content["classes"] == class_names
    assert content["splits"]["test"] == [{"volume": 0, "slice": z} for z in SPLIT["test"]]
    assert "train" not in content["splits"]
    training_images = [annotated.image for annotated in slices["train"]]
    shown = grey_range(training_images, IntensityDescription(0.1, 99.9))
    pages = read_pages(tmp_path / "test-images.tif")
    for page, annotated in zip(pages, slices["test"], strict=True):
        np.testing.assert_array_equal(page, to_8bit(annotated.image, shown))
    labels = [annotated.labels for annotated in slices["test"]]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "test-labels.tif"), labels)
    modified = (tmp_path / "test-images.tif").stat().st_mtime_ns
    write_truth(tmp_path, slices, [])
    assert (tmp_path / "test-images.tif").stat().st_mtime_ns == modified
