"""`fibseg check`, `fibseg score --offset`, and import, new and check one after the other, as a person runs them."""

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
from numpy.typing import NDArray

from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from fibseg.stack import Stack, part_of
from tests.support import TINY, Commands, printed_rows
from tests.support.label_files import write_ilastik, write_mib

Labels = NDArray[Any]


def tiny(folder: Path, data: Path, **changes: Any) -> str:
    """A description of the phantom folder, with some values of its only volume or of itself changed."""
    content = yaml.safe_load(TINY) | {"root": str(data)}
    for key, value in changes.items():
        (content if key in content else content["volumes"][0])[key] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def checked(capsys: Any, folder: Path, description: str, code: int) -> tuple[str, str]:
    """Run `fibseg check`; gives stdout and stderr. The page is there whatever was found."""
    page = folder / "page.html"
    assert main(["check", description, "--page", str(page)]) == code
    assert page.is_file()
    printed = capsys.readouterr()
    return printed.out, printed.err


SPLIT = {"train": ["0:3"], "validation": [4, 5], "test": [7, 8]}


def test_good_data_through_the_command(commands: Commands) -> None:
    """The page is written where the command runs, and its pictures are of the annotated slices."""
    path = tiny(commands.folder, commands.data, split=SPLIT)
    result = commands.run("fibseg", "check", path, cwd=commands.folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "error" not in result.stdout
    assert "check-tiny.html: is this what you painted?" in result.stdout
    page = (commands.folder / "check-tiny.html").read_text()
    assert page.count("<img") == 7
    assert "http" not in page
    for z in (0, 1, 2, 4, 5, 7, 8):
        assert f"volume 0, slice {z}," in page


def test_warnings_do_not_fail_and_errors_do(commands: Commands) -> None:
    path = tiny(commands.folder, commands.data, split={"train": ["0:3"], "validation": [4, 5]})
    result = commands.run("fibseg", "check", path, cwd=commands.folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "warning: there is no test split; the run will have no test scores." in result.stdout
    path = tiny(commands.folder, commands.data, image="none.tif")
    result = commands.run("fibseg", "check", path, cwd=commands.folder)
    commands.refused(result, "1 error in the data description", "mine.yaml", "see above")
    assert "none.tif" in result.stdout
    commands.refused(
        commands.run("fibseg", "check", "nowhere", cwd=commands.folder), "nowhere", "vnc"
    )


def test_another_root(phantom_folder: Path, tmp_path: Path) -> None:
    path = tiny(tmp_path, tmp_path / "nowhere", split=SPLIT)
    arguments = ["check", path, "--page", str(tmp_path / "page.html")]
    assert main(arguments) == 2
    assert main([*arguments, "--root", str(phantom_folder)]) == 0


def test_errors_of_several_volumes_at_once(
    phantom_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    labels = tifffile.imread(phantom_folder / "labels.tif")
    labels[1, 0, 0], labels[5, 0, 0], labels[6, 0, 0] = 77, 88, 99  # slice 6 is in no split
    tifffile.imwrite(tmp_path / "odd.tif", labels, photometric="minisblack")
    (good,) = yaml.safe_load(TINY)["volumes"]
    volumes = [
        good,
        good | {"image": "none.tif"},
        good | {"labels": str(tmp_path / "odd.tif"), "split": {"train": [1], "validation": [5]}},
        good | {"split": {"train": ["0:3", 99]}},
        good | {"offset": [3, 0, 0]},
        good | {"split": {"validation": [0]}},
    ]
    out, error = checked(capsys, tmp_path, tiny(tmp_path, phantom_folder, volumes=volumes), 2)
    found = [line for line in out.splitlines() if line.startswith("error: ")]
    for fragment in (
        "none.tif: no such file",
        "slice 1: label value 77",
        "slice 5: label value 88",
        "'99' is empty or leaves",
        "data.volumes[4]: labels of shape (9, 96, 96) at offset [3, 0, 0]",
        "slice 0 of image.tif is in both train and validation",
    ):
        assert len([line for line in found if fragment in line]) == 1, fragment
    assert len(found) == 6
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
    "twice": ({"background": {"labels": [0, 3], "weight": 0.1}}, "label value 3 is claimed twice"),
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
    case: str, phantom_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    changes, said = DATA_ERRORS[case]
    path = tiny(tmp_path, phantom_folder, **changes)
    with pytest.raises(FibsegError, match=re.escape(said)):
        load_slices(load_description(path))
    out, _ = checked(capsys, tmp_path, path, 2)
    assert said in out


def test_a_class_that_training_does_not_see(
    phantom_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    classes = yaml.safe_load(TINY)["classes"] | {"vacuole": {"label": 9, "weight": 1.0}}
    out, _ = checked(
        capsys, tmp_path, tiny(tmp_path, phantom_folder, classes=classes, split=SPLIT), 2
    )
    assert "error: data: class vacuole does not occur in the training slices." in out
    assert "class vacuole does not occur in the test slices" in out


@pytest.mark.parametrize(
    ("told", "warned"), [([20, 5, 5], False), ([20, 5.04, 5], False), ([20, 5, 8], True)]
)
def test_voxel_size_of_file_and_description(
    told: list[float], warned: bool, phantom_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out, _ = checked(
        capsys, tmp_path, tiny(tmp_path, phantom_folder, voxel_size=told, split=SPLIT), 0
    )
    said = [line for line in out.splitlines() if "data.volumes[0].voxel_size" in line]
    assert len(said) == warned
    if warned:
        assert (
            "[20.0, 5.0, 8.0] nm, but" in said[0]
            and "image.tif says [20.0, 5.0, 5.0] nm" in said[0]
        )


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "[bold]er", "[/er]", "a&b"])
def test_names_are_shown_as_they_are(
    name: str, phantom_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    classes = yaml.safe_load(TINY)["classes"]
    classes[name] = classes.pop("er")
    out, _ = checked(
        capsys, tmp_path, tiny(tmp_path, phantom_folder, classes=classes, split=SPLIT), 0
    )
    assert "<script" not in (tmp_path / "page.html").read_text()
    table = "".join(out.split("┡")[0].split())  # its head, which may be broken into lines
    assert name[:4] in table


def test_an_object_in_test_and_training_is_told(tmp_path: Path, capsys: Any) -> None:
    image = np.random.default_rng(0).integers(0, 200, (6, 32, 32)).astype(np.uint8)
    labels = np.zeros((6, 32, 32), np.uint8)
    for z in range(6):
        labels[z, 4:12, 4 : 12 + z % 3] = 1
    labels[4:, 20:26, 20:26] = 1
    tifffile.imwrite(tmp_path / "i.tif", image)
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    more: dict[str, Any] = {
        "image": "i.tif",
        "labels": "l.tif",
        "classes": {"er": {"label": 1, "weight": 1.0}},
    }
    more["split"] = {"train": [0, 1], "validation": [2], "test": [4, 5]}
    out, _ = checked(
        capsys, tmp_path, tiny(tmp_path, tmp_path, **more), 0
    )  # through slice 3, which is in no split
    assert "1 of 2 objects of class er in the test slices continue into training slices" in out
    labels[3] = 0  # a gap
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    out, _ = checked(capsys, tmp_path, tiny(tmp_path, tmp_path, **more), 0)
    assert "continue into" not in out


def test_unannotated_slices_get_a_picture_too(tmp_path: Path, capsys: Any) -> None:
    image = np.random.default_rng(0).integers(0, 200, (60, 32, 32)).astype(np.uint8)
    labels = np.zeros((60, 32, 32), np.uint8)
    labels[:, 4:12, 4:12] = 1
    labels[13] = 0
    tifffile.imwrite(tmp_path / "i.tif", image)
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    split = {"train": ["0:40"], "validation": ["40:50"], "test": ["50:60"]}
    more = {
        "image": "i.tif",
        "labels": "l.tif",
        "classes": {"er": {"label": 1, "weight": 1.0}},
        "split": split,
    }
    out, _ = checked(capsys, tmp_path, tiny(tmp_path, tmp_path, **more), 0)
    assert "warning: train slice 13 is empty: not annotated?" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 9
    assert 'alt="volume 0, slice 13, train' in page


@pytest.mark.parametrize("program", ["ilastik", "napari", "mib"])
def test_import_then_new_then_check(program: str, commands: Commands) -> None:
    """Every third slice painted by hand, in a part of the image, through the installed command."""
    folder = commands.folder
    image = np.random.default_rng(0).integers(0, 4000, (20, 48, 40)).astype(np.uint16)
    tifffile.imwrite(folder / "em.tif", image)
    labels = np.zeros((15, 24, 20), np.uint8)
    for z in range(0, 15, 3):
        labels[z, 2:10, 2 : 8 + z], labels[z, 14:20, 3:9] = 1, 2
    named = ["--class", "mito=1", "--class", "er=2"]
    if program == "ilastik":
        labels[::3][labels[::3] == 0] = 3  # painted as background; 0 is what nobody painted
        path, named = write_ilastik(folder / "a.h5", labels), [*named, "--background", "3"]
    elif program == "napari":
        path = str(folder / "a.tif")
        tifffile.imwrite(path, labels, photometric="minisblack")
    else:
        path, named = write_mib(folder / "a.model", labels, ["mito", "er"], None), []
    result = commands.run(
        "fibseg", "import", path, "labels.tif", "--image", "em.tif", *named, cwd=folder
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "5 of 15 slices annotated" in result.stdout
    names = ["--class", "mito=1", "--class", "er=2", "--offset", "2,10,5", "--voxel-size", "20,5,5"]
    new = (
        "fibseg",
        "new",
        "cell",
        "em.tif",
        "labels.tif",
        *names,
        "--output",
        "conf/data/cell.yaml",
    )
    result = commands.run(*new, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "slices with labels: 5 of 20; 3 train, 1 validation, 1 test" in result.stdout
    assert "fibseg check conf/data/cell.yaml" in result.stdout
    assert "python train.py --config-dir=conf data=cell" in result.stdout
    result = commands.run("fibseg", "check", "conf/data/cell.yaml", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "warning" not in result.stdout
    assert (folder / "check-cell.html").read_text().count("<img") == 5


def test_score_of_labels_of_a_part(tmp_path: Path, capsys: Any) -> None:
    """By hand: the truth is 4 x 4 at (1, 2, 3); the prediction has half of it, and a false spot outside the part."""
    truth, prediction = np.zeros((2, 6, 8), np.uint8), np.zeros((5, 12, 16), np.uint8)
    truth[:, 1:5, 1:5] = 1
    prediction[1:3, 3:5, 4:8] = 1
    prediction[1:3, 10:12, 0:4], prediction[0] = 1, 1
    for name, labels in (("t", truth), ("p", prediction)):
        tifffile.imwrite(tmp_path / f"{name}.tif", labels, photometric="minisblack")
    arguments = ["score", str(tmp_path / "p.tif"), str(tmp_path / "t.tif")]
    assert main(arguments) == 2
    assert "with --offset z,y,x" in capsys.readouterr().err
    assert main([*arguments, "--offset", "1,2,3"]) == 0
    assert printed_rows(capsys.readouterr().out)["1"][0] == "0.667"  # 2 * 8 / (8 + 16)
    assert main([*arguments, "--offset", "0,2,3", "--slices", "0:1"]) == 0
    assert (
        printed_rows(capsys.readouterr().out)["1"][0] == "0.500"
    )  # all 48 are said to be class 1: 2 * 16 / (48 + 16)
    assert main([*arguments, "--offset", "4,0,0"]) == 2
    assert "leaves the stack (5, 12, 16) along z" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--offset", "4,0"])


def test_part_of_a_stack() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 9)).astype(np.uint8)
    stack = Stack("here", pixels.shape, pixels.dtype, pixels.__getitem__, (20.0, 5.0, 5.0))
    part = part_of(stack, [1, 2, 3], (4, 5, 6))
    assert (part.shape, part.voxel_size) == ((4, 5, 6), stack.voxel_size)
    np.testing.assert_array_equal(np.stack(list(part)), pixels[1:, 2:, 3:])
    np.testing.assert_array_equal(np.stack(list(part_of(stack, [0, 0, 0], (5, 7, 9)))), pixels)
    for offset, axis in (([2, 2, 3], "z"), ([1, 3, 3], "y"), ([1, 2, 4], "x"), ([1, -1, 3], "y")):
        with pytest.raises(FibsegError, match=rf"leaves the stack \(5, 7, 9\) along {axis}\."):
            part_of(stack, offset, (4, 5, 6))


SIDE = 512
MEASURED = """
import resource, sys
from fibseg.cli import main
code = main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""A process inherits the peak of the one that starts it; this one is small, unlike that of the tests."""


def peak(folder: Path, depth: int) -> int:
    """Bytes of a check of `depth` slices that were written one by one."""
    noise = np.random.default_rng(0).integers(0, 4000, (SIDE + 64, SIDE)).astype(np.uint16)
    with (
        tifffile.TiffWriter(folder / "i.tif") as images,
        tifffile.TiffWriter(folder / "l.tif") as masks,
    ):
        for z in range(depth):
            labels = np.zeros((SIDE, SIDE), np.uint8)
            labels[20:100, 20 : 100 + z % 7], labels[150:200, 20 + z % 50 : 90] = 1, 2
            images.write(noise[z % 64 : z % 64 + SIDE], contiguous=False, metadata=None)
            masks.write(labels, contiguous=False, metadata=None, compression="zlib")
    assert (folder / "i.tif").stat().st_size > depth * SIDE * SIDE * 2
    classes = {"a": {"label": 1, "weight": 1.0}, "b": {"label": 2, "weight": 1.0}}
    first, second = depth // 2, depth * 3 // 4
    split = {
        "train": [f"0:{first}"],
        "validation": [f"{first}:{second}"],
        "test": [f"{second}:{depth}"],
    }
    path = tiny(folder, folder, image="i.tif", labels="l.tif", classes=classes, split=split)
    check = [sys.executable, "-c", MEASURED, "check", path, "--page", str(folder / "page.html")]
    result = subprocess.run(
        [sys.executable, "-c", BETWEEN, *check], capture_output=True, text=True, check=True
    )
    code, resident = result.stdout.split()[-2:]
    assert code == "0", result.stdout
    return int(resident) * (1 if sys.platform == "darwin" else 1024)


def test_a_deep_stack_needs_the_memory_of_a_few_slices(tmp_path: Path) -> None:
    allowed = 24 * SIDE * SIDE * 2  # of 600 slices
    assert peak(tmp_path, 600) - peak(tmp_path, 60) <= allowed
