"""The gallery of a comparison: which slices and layers it has, and that these are pictures."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fibseg.arrays import IGNORE
from fibseg.comparison.dataset import Dataset
from fibseg.pages.gallery import GALLERY_SIDE, gallery
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import read_run
from fibseg.stack import read_pages, write_pages
from tests.support.page_runs import make_page_runs
from tests.support.runs import change_scores, dataset_in, make_run


def decoded(url: str) -> Image.Image:
    content = base64.b64decode(url.partition(",")[2])
    return Image.open(io.BytesIO(content))


def alpha_of(url: str) -> np.ndarray:
    return np.asarray(decoded(url).convert("RGBA"))[..., 3]


def test_truth_a_median_run_and_where_seeds_disagree(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=True, shape=(30, 2 * GALLERY_SIDE))
    pictures = gallery(dataset_in(tmp_path))
    assert [picture.place for picture in pictures] == [(0, z) for z in range(4)]
    layers = pictures[0].layers
    assert next(iter(layers)) == "truth" and len(layers) == 10
    assert {"unet-off, seed 1", "unet-off: seeds disagree"} <= set(layers)
    for url in (pictures[0].image, *layers.values()):
        assert decoded(url).size == (GALLERY_SIDE, 15)
    disagreement = alpha_of(pictures[1].layers["unet-off: seeds disagree"])
    assert disagreement.max() > 100 and disagreement.min() == 0
    assert alpha_of(pictures[1].layers["truth"]).max() > 100


def test_errors_are_where_labels_differ_from_truth_that_is_annotated(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=True)
    dataset = dataset_in(tmp_path)
    (picture,) = [picture for picture in gallery(dataset) if picture.place.z == 0]
    (run,) = [run for run in dataset.configurations["unet-off"] if run.seed == 1]
    labels = read_pages(RunDirectory(run.path).labels("test"), [0])[0]
    truth = read_pages(dataset.truth_folder / "test-labels.tif", [0])[0]
    expected = (labels != truth) & (truth != IGNORE)
    assert expected.any() and not expected[:3].any()
    drawn = alpha_of(picture.layers["unet-off, seed 1: errors"])
    assert np.array_equal(drawn == 255, expected) and np.array_equal(drawn == 0, ~expected)


def test_the_worst_slice_comes_first(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=True)
    for path in tmp_path.glob("*-s?-*"):
        shutil.rmtree(path)
    make_run(tmp_path, "unet-off", 0, [0.5], [0.8, 0.5, 0.9, 0.6])
    pictures = gallery(dataset_in(tmp_path))
    assert [picture.place.z for picture in pictures] == [1, 3, 0, 2]
    assert [picture.f1 for picture in pictures] == pytest.approx([0.5, 0.6, 0.8, 0.9], abs=0.01)


def test_slices_without_a_class_are_left_out_and_labels_of_others_passed_over(
    tmp_path: Path,
) -> None:
    make_page_runs(tmp_path, pictures=True)
    for path in tmp_path.glob("*-s?-*"):
        shutil.rmtree(path)
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.8, 0.5, 0.9, 0.6])
    # Its components do not fit any more, which nothing here looks at.
    change_scores(path, empty_second_slice)
    write_pages(RunDirectory(path).labels("test"), [np.zeros((7, 9), np.uint8)] * 4)
    pictures = gallery(Dataset([read_run(path)]))
    assert [picture.place.z for picture in pictures] == [3, 0, 2]
    assert list(pictures[0].layers) == ["truth"]


def empty_second_slice(content: dict[str, Any]) -> None:
    """Leave the background alone in the second test slice."""
    confusion = np.array(content["splits"]["test"][1]["confusion"])
    confusion[1:] = 0
    confusion[:, 1:] = 0
    content["splits"]["test"][1]["confusion"] = confusion.tolist()


def test_runs_without_truth_or_with_that_of_other_slices_have_no_gallery(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=False)
    assert gallery(dataset_in(tmp_path)) == []
    truth = tmp_path / "truth" / "d"
    for kind in ("images", "labels"):
        write_pages(truth / f"test-{kind}.tif", [np.zeros((4, 4), np.uint8)] * 3)
    assert gallery(dataset_in(tmp_path)) == []


def test_a_run_without_labels_is_passed_over(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=True)
    dataset = dataset_in(tmp_path)
    for run in dataset.configurations["unet-off"][1:]:
        RunDirectory(run.path).labels("test").unlink()
    for run in dataset.configurations["unet-on"]:
        RunDirectory(run.path).labels("test").write_bytes(b"no TIFF")
    layers = gallery(dataset)[0].layers
    names = [name for name in layers if name.startswith("unet")]
    assert names == ["unet-off, seed 0", "unet-off, seed 0: errors"]
