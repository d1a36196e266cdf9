"""Labels as ilastik, napari and MIB write them, through files made with other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import yaml
import zarr
from numpy.typing import NDArray

from fibseg.commands.main import main
from fibseg.data.importing import LabelMeaning, import_labels, open_labels
from fibseg.errors import FibsegError
from fibseg.stack import Stack, open_stack
from tests.support.label_files import write_ilastik, write_mib

Labels = NDArray[Any]
SHAPE = (4, 6, 8)


def some_labels(*values: int) -> Labels:
    return np.random.default_rng(0).choice(values, SHAPE).astype(np.uint8)


def brought(tmp_path: Path, *arguments: str, output: str = "out.tif") -> Labels:
    """What `fibseg import` wrote."""
    assert main(["import", *arguments[:1], str(tmp_path / output), *arguments[1:]]) == 0
    return np.stack(list(open_stack(tmp_path / output)))


def mapped(labels: Labels, meaning: dict[int, int]) -> Labels:
    """Pixel by pixel."""
    return np.array([meaning[value] for value in labels.ravel().tolist()], np.uint8).reshape(
        labels.shape
    )


@pytest.mark.parametrize("axes", ["zyxc", "xyzc", "czyx", "yxzc"])
def test_what_nobody_painted_in_ilastik_is_ignored(axes: str, tmp_path: Path, capsys: Any) -> None:
    labels = some_labels(0, 1, 2, 3)
    labels[2] = 0
    found = brought(
        tmp_path,
        write_ilastik(tmp_path / "a.h5", labels, axes),
        "--class",
        "er=3",
        "--class",
        "m=1",
        "--background",
        "2",
    )
    np.testing.assert_array_equal(found, mapped(labels, {0: 255, 1: 2, 2: 0, 3: 1}))
    text = capsys.readouterr().out
    assert "ilastik" in text and "3 of 4 slices annotated" in text
    share = (labels == 3).sum() / (labels > 0).sum()
    assert f"1  er (was 3): {share:.2%}" in text
    assert f"255  unannotated: {(labels == 0).mean():.2%}" in text


def test_more_unlabelled_values_leave_that_of_ilastik(tmp_path: Path) -> None:
    labels = some_labels(0, 1, 2, 3)
    found = brought(
        tmp_path,
        write_ilastik(tmp_path / "a.h5", labels),
        "--class",
        "er=1",
        "--background",
        "2",
        "--unlabelled",
        "3",
    )
    np.testing.assert_array_equal(found, mapped(labels, {0: 255, 1: 1, 2: 0, 3: 255}))


def test_zero_of_ilastik_is_background_where_a_person_says_so(tmp_path: Path) -> None:
    labels = some_labels(0, 1)
    found = brought(
        tmp_path, write_ilastik(tmp_path / "a.h5", labels), "--class", "er=1", "--background", "0"
    )
    np.testing.assert_array_equal(found, labels)


def tenth(depth: int = 25) -> Labels:
    """(depth, 16, 16): every tenth slice is painted, as a person does in napari."""
    labels = np.zeros((depth, 16, 16), np.uint8)
    labels[::10, 4:8, 4:8], labels[::10, 10:12, 2:9] = 1, 5
    return labels


@pytest.mark.parametrize("kind", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("output", ["out.tif", "out.zarr"])
def test_every_tenth_slice_in_napari(kind: str, output: str, tmp_path: Path, capsys: Any) -> None:
    labels, path = tenth(), tmp_path / kind
    if kind == "a.tif":
        tifffile.imwrite(path, labels.astype(np.int32), photometric="minisblack")
    else:
        zarr.create_array(path, data=labels.astype(np.int32), chunks=(1, 16, 16))
    arguments = [str(path), "--class", "mito=5", "--class", "er=1"]
    expected = mapped(labels, {0: 0, 1: 2, 5: 1})
    for z in range(25):
        if z % 10:
            expected[z] = 255
    np.testing.assert_array_equal(brought(tmp_path, *arguments, output=output), expected)
    assert "3 of 25 slices annotated" in capsys.readouterr().out
    background = [*arguments, "--empty-slices", "background", "--overwrite"]
    found = brought(tmp_path, *background, output=output)
    np.testing.assert_array_equal(found, mapped(labels, {0: 0, 1: 2, 5: 1}))
    assert "25 of 25 slices annotated" in capsys.readouterr().out


def test_several_values_of_a_class_and_masks_of_255(tmp_path: Path) -> None:
    labels = some_labels(3, 4, 9, 255)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    found = brought(
        tmp_path,
        str(tmp_path / "a.tif"),
        "--class",
        "er=3,4",
        "--class",
        "cell=255",
        "--unlabelled",
        "9",
    )
    np.testing.assert_array_equal(found, mapped(labels, {3: 1, 4: 1, 255: 2, 9: 255}))


BOX = [1.0, 1.0 + 7 * 0.004, 0.0, 5 * 0.005, 2.0, 2.0 + 3 * 0.02]
"""Micrometres, from centre to centre of the outer of 8, 6 and 4 voxels: of 4, 5 and 20 nm."""


@pytest.mark.parametrize("variable", ["mibModel", "myModel"])
def test_names_and_voxels_of_a_model_of_mib(variable: str, tmp_path: Path, capsys: Any) -> None:
    labels = some_labels(0, 1, 2)
    path = write_mib(tmp_path / "a.model", labels, ["mitochondrion", "rough ER"], BOX, variable)
    source = open_labels(path)
    assert (source.program, source.names) == ("MIB", {"mitochondrion": 1, "rough ER": 2})
    assert (source.stack.shape, source.stack.voxel_size) == (SHAPE, pytest.approx((20.0, 5.0, 4.0)))
    np.testing.assert_array_equal(np.stack(list(source.stack)), labels)
    image = tmp_path / "em.tif"
    tifffile.imwrite(
        image, np.zeros([side + 4 for side in SHAPE], np.uint8), photometric="minisblack"
    )
    np.testing.assert_array_equal(
        brought(tmp_path, path, "--offset", "1,2,3", "--image", str(image)), labels
    )
    assert open_stack(tmp_path / "out.tif").voxel_size == pytest.approx((20.0, 5.0, 4.0))
    printed = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[0])
    assert {name: one["label"] for name, one in printed["classes"].items()} == {
        "mitochondrion": 1,
        "rough ER": 2,
    }
    assert (printed["ignore"], printed["background"]["labels"]) == (255, [0])
    (volume,) = printed["volumes"]
    assert (volume["image"], volume["labels"]) == (str(image), str(tmp_path / "out.tif"))
    assert (volume["offset"], volume["voxel_size"]) == ([1, 2, 3], pytest.approx([20.0, 5.0, 4.0]))


@pytest.mark.parametrize("name", ["Mito #1", "a: b", "no", "[er]", "{er}"])
def test_the_printed_entry_is_yaml_whatever_a_class_is_called(
    name: str, tmp_path: Path, capsys: Any
) -> None:
    brought(tmp_path, write_mib(tmp_path / "a.model", some_labels(0, 1), [name], None))
    printed = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2])
    assert printed["classes"] == {name: {"label": 1, "weight": 1.0}}


def test_classes_on_the_command_line_win_over_those_of_mib(tmp_path: Path) -> None:
    labels = some_labels(0, 1, 2)
    path = write_mib(tmp_path / "a.model", labels, ["mito", "cytosol"], None)
    assert open_labels(path).stack.voxel_size is None
    np.testing.assert_array_equal(
        brought(tmp_path, path, "--class", "er=2", "--background", "1"),
        mapped(labels, {0: 0, 1: 0, 2: 1}),
    )
    found = brought(tmp_path, path, "--background", "2", "--overwrite")
    np.testing.assert_array_equal(found, mapped(labels, {0: 0, 1: 1, 2: 0}))


def test_models_of_mib_that_cannot_be_read(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"mibModel": np.zeros((6, 8, 4), np.uint8)})
    (tmp_path / "old.mat").rename(tmp_path / "old.model")
    with h5py.File(tmp_path / "other.model", "w") as file:
        file["something"] = np.zeros(SHAPE, np.uint8)
    write_mib(tmp_path / "float.model", np.zeros(SHAPE, np.float32), [], None)
    write_mib(tmp_path / "four.model", np.zeros(SHAPE, np.uint8), [], None)
    with h5py.File(tmp_path / "four.model", "a") as file:
        del file["mibModel"]
        file["mibModel"] = np.zeros((2, *SHAPE), np.uint8)
    for name, said in (
        ("none.model", "no such file"),
        ("old.model", "older .model of MIB; save it there as Matlab 7.3"),
        ("other.model", "holds no mibModel"),
        ("float.model", "type float32; expected labels"),
        ("four.model", r"shape \(2, 4, 6, 8\)"),
    ):
        with pytest.raises(FibsegError, match=said) as raised:
            open_labels(str(tmp_path / name))
        assert len(str(raised.value).splitlines()) == 1


def refused(capsys: Any, *arguments: str | Path) -> str:
    """The sentence of a command that did not run."""
    assert main(list(map(str, arguments))) == 2
    error = str(capsys.readouterr().err)
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1
    return error


def test_an_unknown_value_is_named_with_its_slice_and_nothing_is_left(
    tmp_path: Path, capsys: Any
) -> None:
    labels = tenth()
    labels[20, 0, 0] = 77
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    (tmp_path / "out.tif").write_text("precious")
    arguments = ("import", tmp_path / "a.tif", tmp_path / "out.tif", "--class", "a=1,5")
    assert "out.tif: exists already" in refused(capsys, *arguments)
    error = refused(capsys, *arguments, "--overwrite")
    assert "slice 20: value 77" in error and "known: 0, 1, 5" in error
    assert (tmp_path / "out.tif").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "out.tif"]


@pytest.mark.parametrize(
    "claims",
    [
        ["--class", "a=1", "--class", "b=1"],
        ["--class", "a=1,1"],
        ["--class", "a=1", "--background", "1"],
        ["--class", "a=1", "--unlabelled", "1"],
        ["--class", "a=0", "--class", "b=0"],
        ["--class", "a=1", "--background", "5", "--unlabelled", "5"],
    ],
)
def test_a_value_means_one_thing(claims: list[str], tmp_path: Path, capsys: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some_labels(0, 1, 5), photometric="minisblack")
    error = refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", *claims)
    assert "claimed twice" in error
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "names no classes; give them as --class"),
        (["--class", "er"], "expected NAME=VALUE"),
        (["--class", "er=x"], "expected NAME=VALUE"),
        (["--class", "=1"], "names no classes"),
    ],
)
def test_classes_must_be_named(more: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some_labels(0, 1), photometric="minisblack")
    assert said in refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", *more)


def test_grey_values_are_no_labels(tmp_path: Path, capsys: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.float32), photometric="minisblack")
    error = refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", "--class", "a=1")
    assert "float32; labels are integers" in error
    assert "written as" in refused(
        capsys, "import", tmp_path / "a.tif", tmp_path / "out.png", "--class", "a=1"
    )


def test_nothing_annotated_at_all(tmp_path: Path) -> None:
    empty = Stack("empty", SHAPE, np.dtype("uint8"), np.zeros(SHAPE, np.uint8).__getitem__)
    meaning = LabelMeaning({"a": [1]}, [], [], empty_is_unlabelled=True)
    imported = import_labels(empty, meaning, tmp_path / "out.tif")
    assert (imported.annotated, imported.ignored, imported.shares[1]) == (0, 1.0, 0.0)
