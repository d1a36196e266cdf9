"""`fibseg figure`: its files, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibseg.commands.finished.figure import crop_of
from fibseg.commands.main import main
from fibseg.filters.grain import grain_filter
from fibseg.pages.panels import Crop
from fibseg.stack import write_stack
from tests.support import Commands
from tests.support.print_runs import make_print_runs
from tests.support.runs import make_run

SIDE = 16


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    make_print_runs(tmp_path)
    return tmp_path


@pytest.mark.slow(seconds=3)
def test_the_installed_program_draws_a_figure_of_print_size(
    commands: Commands, sweep: Path
) -> None:
    name = sweep / "new" / "figure3"
    sizes = ("--side", str(SIDE), "--width", "90")
    result = commands.run_process("fibseg", "figure", "slices", sweep, *sizes, "--output", name)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{name}.pdf, {name}.png\n"
    content = name.with_suffix(".pdf").read_bytes()
    # Journals refuse fonts of type 3.
    assert content.startswith(b"%PDF") and b"/Type3" not in content and b"/CIDFontType2" in content
    with Image.open(name.with_suffix(".png")) as picture:
        assert picture.width == pytest.approx(90 / 25.4 * 300, abs=1)


def test_a_patch_and_its_filtered_version(tmp_path: Path) -> None:
    """The right half of the figure has the grey values of the filtered patch."""
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 80)).astype(np.uint8)
    # So that the grey window of the slice is the whole range.
    image[:, 0, :9] = 0
    image[:, 1, :9] = 255
    write_stack(tmp_path / "image.tif", image, [20, 5, 5])
    words = ["figure", "filter", str(tmp_path / "image.tif"), "--crop", "1,10,20"]
    words += ["--side", "32", "--area", "9", "--output", str(tmp_path / "figure2.pdf")]
    assert main(words) == 0
    with Image.open(tmp_path / "figure2.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    (filtered,) = grain_filter(image[1], [9])
    patch = filtered[10:42, 20:52]
    half = pixels[:, pixels.shape[1] // 2 + 20 : -20]
    assert abs(np.median(half[60:-200]) - np.median(patch)) < 12
    deviation = np.std(patch)
    assert abs(np.std(half[200:-300]) - deviation) < 12 < abs(np.std(image[1]) - deviation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "7,0,0"], "slice 7 of volume 0 is no test slice"),
        (["--crop", "1,30,0", "--side", "16"], "leaves the slice of 40 x 60 pixels"),
        (["--side", "0"], "--side: 0; expected more than 0"),
        (["--count", "-1"], "--count: -1; expected more than 0"),
        (["--width", "0"], "--width: 0"),
        (["--side", "500"], "leaves the slice"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    arguments: list[str], message: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["figure", "slices", str(sweep), *arguments, "--output", str(sweep / "figure")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (sweep / "figure.pdf").exists()


def test_two_data_sets(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(sweep, "unet-off", 9, [0.5], [0.5], data="other", data_hash="e")
    assert main(["figure", "slices", str(sweep), "--output", str(sweep / "figure")]) == 2
    assert "2 data sets" in capsys.readouterr().err


def test_a_crop_of_the_first_volume_or_of_a_named_one() -> None:
    assert crop_of([1, 2, 3]) == Crop(0, 1, 2, 3)
    assert crop_of([4, 1, 2, 3]) == Crop(4, 1, 2, 3)
