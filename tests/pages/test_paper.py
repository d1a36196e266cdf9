"""Figures for a paper: which pixels they show, and what a person is told who asks for what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibseg.commands.figure import crop_of
from fibseg.commands.main import main
from fibseg.filters.grain import grain_filter
from fibseg.pages.figures import overlay
from fibseg.pages.paper import draw, panels
from fibseg.runs.collection import collect
from fibseg.stack import write_pages, write_stack
from tests.support.runs import make_run, write_config, write_labels

SIDE = 16


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two configurations of three runs on two slices of 40 x 60, with truth, images and a second expert."""
    generator = np.random.default_rng(0)
    truth = [np.zeros((40, 60), np.uint8) for _ in range(2)]
    truth[0][8:20, 8:30], truth[1][20:30, 40:60] = 1, 1
    for name in ("unet-off", "unet-on"):
        for seed in range(3):
            path = make_run(tmp_path, name, seed, [0.4 + 0.1 * seed], [0.5] * 2)
            write_labels(path, truth, [np.roll(one, seed + 1, axis=1) for one in truth])
            write_config(path, [20.0, 5.0, 5.0])
    folder = tmp_path / "truth" / "d"
    write_pages(
        folder / "test-images.tif",
        [generator.integers(0, 255, (40, 60)).astype(np.uint8) for _ in truth],
    )
    write_pages(folder / "second_expert-labels.tif", [np.roll(truth[1], 3, axis=0)])
    content = json.loads((folder / "truth.json").read_text())
    content["splits"]["second_expert"] = [{"volume": 0, "slice": 1}]
    (folder / "truth.json").write_text(json.dumps(content))
    return tmp_path


def test_panels_hold_the_pixels_of_their_crops(sweep: Path) -> None:
    """Image, truth, second expert and the median run of each configuration."""
    runs = collect([sweep]).runs
    figure = panels(runs, [(0, 1, 15, 44), (0, 0, 2, 3)], SIDE, 183)
    axes = np.array(figure.axes).reshape(2, 5)
    titles = [axis.get_title() for axis in axes[0]]
    assert titles == ["image", "truth", "second expert", "unet-off", "unet-on"]
    truth = np.zeros((40, 60), np.uint8)
    truth[20:30, 40:60] = 1
    image = np.asarray(axes[0, 0].images[0].get_array())
    for column, labels in (
        (1, truth),
        (2, np.roll(truth, 3, axis=0)),
        (3, np.roll(truth, 2, axis=1)),
    ):  # seed 1
        expected = overlay(image[..., 0], labels[15 : 15 + SIDE, 44 : 44 + SIDE], 0.5)
        np.testing.assert_array_equal(np.asarray(axes[0, column].images[0].get_array()), expected)
    assert not axes[1, 2].images  # nobody else looked at slice 0
    assert any("nm" in text.get_text() for text in axes[0, 0].texts)


def test_crops_are_drawn_from_a_seed_where_a_class_is(sweep: Path) -> None:
    runs = collect([sweep]).runs
    drawn = draw(runs, SIDE, 4, 7)
    assert drawn == draw(runs, SIDE, 4, 7) != draw(runs, SIDE, 4, 8)
    assert all((volume, z) == (0, 1) for volume, z, *_ in drawn)  # the second expert's slice
    truth = np.zeros((40, 60), np.uint8)
    truth[20:30, 40:60] = 1
    assert all(truth[row : row + SIDE, column : column + SIDE].any() for *_, row, column in drawn)
    assert crop_of([1, 2, 3]) == (0, 1, 2, 3) and crop_of([4, 1, 2, 3]) == (4, 1, 2, 3)


def test_both_files_at_print_size(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / "made" / "figure3"
    assert (
        main(
            [
                "figure",
                "slices",
                str(sweep),
                "--side",
                str(SIDE),
                "--width",
                "90",
                "--output",
                str(name),
            ]
        )
        == 0
    )
    assert "figure3.pdf" in capsys.readouterr().out
    assert name.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    with Image.open(name.with_suffix(".png")) as png:
        assert png.width == pytest.approx(90 / 25.4 * 300, abs=1)


def test_a_patch_and_its_filtered_versions(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 80)).astype(np.uint8)
    image[:, 0, :9], image[:, 1, :9] = 0, 255  # its grey window is the whole range
    write_stack(tmp_path / "image.tif", image, [20, 5, 5])
    line = [
        "figure",
        "filter",
        str(tmp_path / "image.tif"),
        "--crop",
        "1,10,20",
        "--side",
        "32",
        "--area",
        "9",
    ]
    assert main([*line, "--output", str(tmp_path / "figure2.pdf")]) == 0
    with Image.open(tmp_path / "figure2.png") as picture:
        png = np.asarray(picture.convert("L")).astype(int)
    (small,) = grain_filter(image[1], [9])
    found = png[:, png.shape[1] // 2 + 20 : -20]
    ours = small[10:42, 20:52]
    assert (
        abs(np.median(found[60:-200]) - np.median(ours)) < 12
    )  # the right half shows the filtered patch
    assert abs(np.std(found[200:-300]) - np.std(ours)) < 12 < abs(np.std(image[1]) - np.std(ours))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--crop", "7,0,0"],
            "slice 7 of volume 0 is no test slice; these are 0 of volume 0, 1 of volume 0",
        ),
        (["--crop", "1,30,0", "--side", "16"], "leaves the slice of 40 x 60 pixels"),
        (["--side", "0"], "--side: 0; expected more than 0"),
        (["--count", "-1"], "--count: -1; expected more than 0"),
        (["--width", "0"], "--width: 0"),
        (["--side", "500"], "leaves the slice"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["figure", "slices", str(sweep), *arguments, "--output", str(sweep / "figure")]) == 2
    )
    assert said in capsys.readouterr().err
    assert not (sweep / "figure.pdf").exists()


def test_two_data_sets_and_missing_images(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "truth" / "d" / "test-images.tif").unlink()
    line = ["figure", "slices", str(sweep), "--side", str(SIDE), "--output", str(sweep / "figure")]
    assert main(line) == 2
    assert "test-images.tif: missing or damaged" in capsys.readouterr().err
    make_run(sweep, "unet-off", 9, [0.5], [0.5], data="other", data_hash="e")
    assert main(line) == 2
    assert "2 data sets" in capsys.readouterr().err
