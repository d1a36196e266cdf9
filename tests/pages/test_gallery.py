"""The gallery of a comparison: which slices and layers it has, and that these are pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.pages.gallery import GALLERY_SIDE, gallery
from fibseg.runs.directory import RunDirectory
from fibseg.stack import write_pages
from tests.support.page_runs import make_page_runs
from tests.support.runs import dataset_in


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
    assert next(iter(layers)) == "truth" and len(layers) == 7
    assert {"unet-off, seed 1", "unet-off: seeds disagree"} <= set(layers)
    for url in (pictures[0].image, *layers.values()):
        assert decoded(url).size == (GALLERY_SIDE, 15)
    disagreement = alpha_of(pictures[1].layers["unet-off: seeds disagree"])
    assert disagreement.max() > 100 and disagreement.min() == 0
    assert alpha_of(pictures[1].layers["truth"]).max() > 100


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
    assert [name for name in layers if name.startswith("unet")] == ["unet-off, seed 0"]
