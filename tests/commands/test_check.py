"""`fibseg check` through its command line; the single doubts are tested with the inspection."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from tests.support import TINY, Commands

SPLIT = {"train": ["0:3"], "validation": [4, 5], "test": [7, 8]}
ONE_CLASS = {"er": {"label": 1, "weight": 1.0}}

Capture = pytest.CaptureFixture[str]


def write_description(folder: Path, data: Path, **changes: Any) -> str:
    """A description of the phantom folder, with some keys of it or of its only volume changed."""
    content = yaml.safe_load(TINY) | {"root": str(data)}
    for key, value in changes.items():
        entry = content if key in content else content["volumes"][0]
        entry[key] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def write_stacks(folder: Path, image: np.ndarray, labels: np.ndarray) -> None:
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    tifffile.imwrite(folder / "labels.tif", labels, photometric="minisblack")


def check(capsys: Capture, folder: Path, description: str, code: int) -> tuple[str, str]:
    """Run `fibseg check`; gives stdout and stderr. The page is written whatever the findings."""
    page = folder / "page.html"
    assert main(["check", description, "--page", str(page)]) == code
    assert page.is_file()
    printed = capsys.readouterr()
    return printed.out, printed.err


@pytest.mark.slow(seconds=2)
def test_good_data_through_the_installed_program(commands: Commands) -> None:
    """The page is written where the command runs, and shows the annotated slices."""
    path = write_description(commands.folder, commands.data, split=SPLIT)
    result = commands.run_process("fibseg", "check", path, cwd=commands.folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "error" not in result.stdout
    assert "check-tiny.html: is this what you painted?" in result.stdout
    page = (commands.folder / "check-tiny.html").read_text()
    assert page.count("<img") == 7
    assert "http" not in page
    for z in (0, 1, 2, 4, 5, 7, 8):
        assert f"volume 0, slice {z}," in page


def test_warnings_do_not_fail_and_errors_do(commands: Commands) -> None:
    folder = commands.folder
    path = write_description(folder, commands.data, split={"train": ["0:3"], "validation": [4, 5]})
    result = commands.run("fibseg", "check", path, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "warning: there is no test split; the run will have no test scores." in result.stdout
    path = write_description(folder, commands.data, image="none.tif")
    result = commands.run("fibseg", "check", path, cwd=folder)
    commands.refused(result, "1 error in the data description", "mine.yaml", "see above")
    assert "none.tif" in result.stdout


def test_descriptions_are_found_by_name(commands: Commands) -> None:
    """Those of the package, and those in conf/data of the current directory."""
    result = commands.run("fibseg", "check", "nowhere", cwd=commands.folder)
    commands.refused(result, "nowhere", "tiny", "vnc")
    arguments = ["check", "tiny", "--root", commands.data]
    result = commands.run("fibseg", *arguments, cwd=commands.folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "check-tiny.html" in result.stdout


def test_another_root(phantom_folder: Path, tmp_path: Path) -> None:
    path = write_description(tmp_path, tmp_path / "nowhere", split=SPLIT)
    arguments = ["check", path, "--page", str(tmp_path / "page.html")]
    assert main(arguments) == 2
    assert main([*arguments, "--root", str(phantom_folder)]) == 0


def test_errors_of_several_volumes_at_once(
    phantom_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    labels = tifffile.imread(phantom_folder / "labels.tif")
    # Slice 6 is in no split.
    labels[[1, 5, 6], 0, 0] = 77, 88, 99
    tifffile.imwrite(tmp_path / "odd.tif", labels, photometric="minisblack")
    odd_labels = {"labels": str(tmp_path / "odd.tif"), "split": {"train": [1], "validation": [5]}}
    (good,) = yaml.safe_load(TINY)["volumes"]
    volumes = [
        good,
        good | {"image": "none.tif"},
        good | odd_labels,
        good | {"split": {"train": ["0:3", 99]}},
        good | {"offset": [3, 0, 0]},
        good | {"split": {"validation": [0]}},
    ]
    path = write_description(tmp_path, phantom_folder, volumes=volumes)
    out, error = check(capsys, tmp_path, path, 2)
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    for fragment in (
        "none.tif: no such file",
        "slice 1: label value 77",
        "slice 5: label value 88",
        "'99' is empty or leaves",
        "data.volumes[4]: labels of shape (9, 96, 96) at offset [3, 0, 0]",
        "slice 0 of image.tif is in both train and validation",
    ):
        assert len([line for line in errors if fragment in line]) == 1, fragment
    assert len(errors) == 6
    assert error.startswith("error: 6 errors in the data description")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<li class="error">') == 6


DATA_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "no volume": ({"volumes": []}, "data.volumes: empty"),
    "no volume for the phantom": (
        {"volumes": [], "phantom": {"shape": [9, 96, 96], "seed": 0}},
        "data.volumes: empty",
    ),
    "no validation": (
        {"split": {"train": [0, 2], "test": [8]}},
        "no slice in the validation split",
    ),
    "claimed twice": (
        {"background": {"labels": [0, 3], "weight": 0.1}},
        "label value 3 is claimed twice",
    ),
    "another split": (
        {"split": {"train": [0], "validation": [3], "exam": [7]}},
        "'exam' is no split",
    ),
    "second expert": (
        {"split": SPLIT, "second_expert": {"labels": "none.tif", "slices": [7]}},
        "none.tif: no such file",
    ),
}


@pytest.mark.parametrize("case", DATA_ERRORS)
def test_what_training_refuses_the_check_refuses(
    case: str, phantom_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    changes, message = DATA_ERRORS[case]
    path = write_description(tmp_path, phantom_folder, **changes)
    with pytest.raises(FibsegError, match=re.escape(message)):
        load_slices(load_description(path))
    out, _ = check(capsys, tmp_path, path, 2)
    assert message in out


def test_a_class_that_is_missing_in_training(
    phantom_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    classes = yaml.safe_load(TINY)["classes"] | {"vacuole": {"label": 9, "weight": 1.0}}
    path = write_description(tmp_path, phantom_folder, classes=classes, split=SPLIT)
    out, _ = check(capsys, tmp_path, path, 2)
    assert "error: data: class vacuole does not occur in the training slices." in out
    assert "class vacuole does not occur in the test slices" in out


@pytest.mark.parametrize(
    ("voxel_size", "warned"), [([20, 5, 5], False), ([20, 5.04, 5], False), ([20, 5, 8], True)]
)
def test_voxel_size_of_file_and_description(
    voxel_size: list[float], warned: bool, phantom_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = write_description(tmp_path, phantom_folder, voxel_size=voxel_size, split=SPLIT)
    out, _ = check(capsys, tmp_path, path, 0)
    warnings = [line for line in out.splitlines() if "data.volumes[0].voxel_size" in line]
    assert len(warnings) == warned
    if warned:
        assert "[20.0, 5.0, 8.0] nm, but" in warnings[0]
        assert "image.tif says [20.0, 5.0, 5.0] nm" in warnings[0]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "[bold]er", "[/er]", "a&b"])
def test_names_are_printed_as_they_are(
    name: str, phantom_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    classes = yaml.safe_load(TINY)["classes"]
    classes[name] = classes.pop("er")
    path = write_description(tmp_path, phantom_folder, classes=classes, split=SPLIT)
    out, _ = check(capsys, tmp_path, path, 0)
    assert "<script" not in (tmp_path / "page.html").read_text()
    # The head of the table may be broken into lines.
    head = "".join(out.split("┡")[0].split())
    assert name[:4] in head


def test_an_object_in_test_and_training_slices(tmp_path: Path, capsys: Capture) -> None:
    image = np.random.default_rng(0).integers(0, 200, (6, 32, 32)).astype(np.uint8)
    labels = np.zeros((6, 32, 32), np.uint8)
    for z in range(6):
        labels[z, 4:12, 4 : 12 + z % 3] = 1
    labels[4:, 20:26, 20:26] = 1
    write_stacks(tmp_path, image, labels)
    split = {"train": [0, 1], "validation": [2], "test": [4, 5]}
    path = write_description(tmp_path, tmp_path, classes=ONE_CLASS, split=split)
    # The object continues through slice 3, which is in no split.
    out, _ = check(capsys, tmp_path, path, 0)
    assert "1 of 2 objects of class er in the test slices continue into training slices" in out
    labels[3] = 0
    write_stacks(tmp_path, image, labels)
    out, _ = check(capsys, tmp_path, path, 0)
    assert "continue into" not in out


def test_unannotated_slices_get_a_picture_too(tmp_path: Path, capsys: Capture) -> None:
    image = np.random.default_rng(0).integers(0, 200, (60, 32, 32)).astype(np.uint8)
    labels = np.zeros((60, 32, 32), np.uint8)
    labels[:, 4:12, 4:12] = 1
    labels[13] = 0
    write_stacks(tmp_path, image, labels)
    split = {"train": ["0:40"], "validation": ["40:50"], "test": ["50:60"]}
    path = write_description(tmp_path, tmp_path, classes=ONE_CLASS, split=split)
    out, _ = check(capsys, tmp_path, path, 0)
    assert "warning: train slice 13 is empty: not annotated?" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 9
    assert 'alt="volume 0, slice 13, train' in page


SIDE = 512
MEASURE_PEAK = """
import resource, sys
from fibseg.commands.main import main
code = main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
# A process inherits the peak memory of the one that starts it. This one is small, unlike the tests.
START_FROM_SMALL = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


def peak_memory(folder: Path, depth: int) -> int:
    """Bytes that a check of `depth` slices needs."""
    noise = np.random.default_rng(0).integers(0, 4000, (SIDE + 64, SIDE)).astype(np.uint16)
    with (
        tifffile.TiffWriter(folder / "image.tif") as images,
        tifffile.TiffWriter(folder / "labels.tif") as masks,
    ):
        for z in range(depth):
            labels = np.zeros((SIDE, SIDE), np.uint8)
            labels[20:100, 20 : 100 + z % 7] = 1
            labels[150:200, 20 + z % 50 : 90] = 2
            images.write(noise[z % 64 : z % 64 + SIDE], contiguous=False, metadata=None)
            masks.write(labels, contiguous=False, metadata=None, compression="zlib")
    assert (folder / "image.tif").stat().st_size > depth * SIDE * SIDE * 2
    first = depth // 2
    second = depth * 3 // 4
    path = write_description(
        folder,
        folder,
        classes={"a": {"label": 1, "weight": 1.0}, "b": {"label": 2, "weight": 1.0}},
        split={
            "train": [f"0:{first}"],
            "validation": [f"{first}:{second}"],
            "test": [f"{second}:{depth}"],
        },
    )
    page = str(folder / "page.html")
    command = [sys.executable, "-c", MEASURE_PEAK, "check", path, "--page", page]
    result = subprocess.run(
        [sys.executable, "-c", START_FROM_SMALL, *command],
        capture_output=True,
        text=True,
        check=True,
    )
    code, resident = result.stdout.split()[-2:]
    assert code == "0", result.stdout
    # Linux counts in KiB, macOS in bytes.
    return int(resident) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow(seconds=10)
def test_a_deep_stack_needs_the_memory_of_a_few_slices(tmp_path: Path) -> None:
    few_slices = 24 * SIDE * SIDE * 2
    assert peak_memory(tmp_path, 160) - peak_memory(tmp_path, 60) <= few_slices
