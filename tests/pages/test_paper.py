"""Figures for a paper: which pixels they show, and where their crops lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fibseg.arrays import UInt8
from fibseg.comparison.dataset import Dataset
from fibseg.errors import FibsegError
from fibseg.pages.figures import overlay
from fibseg.pages.panels import Crop, add_scale_bar, panel_grid
from fibseg.pages.paper import comparison_figure, draw_crops, filter_figure
from fibseg.stack import open_stack, write_stack
from tests.support.print_runs import make_print_runs
from tests.support.runs import dataset_in

SIDE = 16
WIDTH = 183


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    make_print_runs(tmp_path)
    return dataset_in(tmp_path)


def second_slice() -> UInt8:
    """Its truth."""
    truth = np.zeros((40, 60), np.uint8)
    truth[20:30, 40:60] = 1
    return truth


def test_panels_hold_the_pixels_of_their_crops(dataset: Dataset) -> None:
    """Image, truth, second expert and the median run of each configuration, which is of seed 1."""
    crops = [Crop(0, 1, 15, 44), Crop(0, 0, 2, 3)]
    figure = comparison_figure(dataset, crops, SIDE, WIDTH)
    panels = np.array(figure.axes).reshape(2, 5)
    titles = [axes.get_title() for axes in panels[0]]
    assert titles == ["image", "truth", "second expert", "unet-off", "unet-on"]
    image = np.asarray(panels[0, 0].images[0].get_array())
    labels = {
        1: second_slice(),
        2: np.roll(second_slice(), 3, axis=0),
        3: np.roll(second_slice(), 2, axis=1),
    }
    for column, of_slice in labels.items():
        expected = overlay(image[..., 0], of_slice[15 : 15 + SIDE, 44 : 44 + SIDE], 0.5)
        np.testing.assert_array_equal(panels[0, column].images[0].get_array(), expected)
    # The second expert did not annotate slice 0.
    assert not panels[1, 2].images
    assert any("nm" in text.get_text() for text in panels[0, 0].texts)


def test_crops_are_drawn_by_a_seed_where_a_class_is(dataset: Dataset) -> None:
    crops = draw_crops(dataset, SIDE, 4, seed=7)
    assert crops == draw_crops(dataset, SIDE, 4, seed=7) != draw_crops(dataset, SIDE, 4, seed=8)
    assert draw_crops(dataset, SIDE, 2, seed=7) == crops[:2]
    # The slice that the second expert annotated.
    assert {crop.place for crop in crops} == {(0, 1)}
    for crop in crops:
        part = second_slice()[crop.row : crop.row + SIDE, crop.column : crop.column + SIDE]
        assert part.any()


def test_classes_that_are_too_rare_for_a_crop(tmp_path: Path) -> None:
    make_print_runs(tmp_path, truth=[np.zeros((40, 60), np.uint8)] * 2)
    with pytest.raises(FibsegError, match="fewer than 3 crops of test slices hold a class"):
        draw_crops(dataset_in(tmp_path), SIDE, 3, seed=0)


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        (Crop(0, 7, 0, 0), "slice 7 of volume 0 is no test slice; these are 0 of volume 0, 1 of"),
        (Crop(0, 1, 30, 0), "leaves the slice of 40 x 60 pixels"),
    ],
)
def test_crops_that_do_not_exist(dataset: Dataset, crop: Crop, message: str) -> None:
    with pytest.raises(FibsegError, match=message):
        comparison_figure(dataset, [crop], SIDE, WIDTH)


def test_images_that_are_missing_or_of_other_slices(dataset: Dataset) -> None:
    path = dataset.truth_folder / "test-images.tif"
    path.write_bytes((dataset.truth_folder / "second_expert-labels.tif").read_bytes())
    with pytest.raises(FibsegError, match="1 images for 2 test slices"):
        comparison_figure(dataset, [Crop(0, 1, 0, 0)], SIDE, WIDTH)
    path.unlink()
    with pytest.raises(FibsegError, match=r"test-images.tif: missing or damaged"):
        comparison_figure(dataset, [Crop(0, 1, 0, 0)], SIDE, WIDTH)


def test_a_crop_outside_the_stack(tmp_path: Path) -> None:
    write_stack(tmp_path / "image.tif", np.zeros((2, 64, 80), np.uint8), [20, 5, 5])
    stack = open_stack(tmp_path / "image.tif")
    with pytest.raises(FibsegError, match=r"slice 2; .*image.tif has slices 0 to 1"):
        filter_figure(stack, Crop(0, 2, 0, 0), side=SIDE, areas=[9], width=WIDTH)


@pytest.mark.parametrize(
    ("side", "nanometres", "text"), [(256, 5.0, "200 nm"), (500, 10.0, "1 µm"), (16, 5.0, "20 nm")]
)
def test_a_scale_bar_is_round_and_a_quarter_at_most(
    side: int, nanometres: float, text: str
) -> None:
    _, panels = panel_grid(1, 1, WIDTH)
    axes = panels[0][0]
    add_scale_bar(axes, side, nanometres)
    (label,) = axes.texts
    (bar,) = axes.patches
    assert label.get_text() == text
    assert 0.1 * side <= bar.get_width() <= 0.25 * side
