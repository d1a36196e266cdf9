"""`fibseg new`: what it finds in the files, and that what it writes is loaded and passes the check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from numpy.typing import NDArray

from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.draft import (
    MOST_LABEL_VALUES,
    compact_slices,
    draft_from_stacks,
    proposed_splits,
)
from fibseg.data.slices import load_slices
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError
from fibseg.stack import Stack, write_stack

Labels = NDArray[Any]
DEPTH = 12


def stack(pixels: Labels, size: tuple[float, float, float] | None = None) -> Stack:
    return Stack("here", pixels.shape, pixels.dtype, pixels.__getitem__, size)


def scene(
    slices: list[int], depth: int = DEPTH, side: int = 32, value: int = 2
) -> tuple[Labels, Labels]:
    """Image and labels (depth, side, side): values 1 and `value` in some slices."""
    image = np.random.default_rng(0).integers(0, 200, (depth, side, side)).astype(np.uint8)
    labels = np.zeros((depth, side, side), np.uint8)
    for z in slices:
        labels[z, 2:10, 2 : 10 + z % 3], labels[z, 20:26, 4:14] = 1, value
    return image, labels


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Image and labels into files; gives the arguments of `fibseg new`."""

    def made(image: Labels, labels: Labels, name: str = "mine", voxels: bool = True) -> list[str]:
        write_stack(tmp_path / "image.tif", image, [20, 5, 4] if voxels else None)
        tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
        files = [str(tmp_path / "image.tif"), str(tmp_path / "labels.tif")]
        return ["new", name, *files, "--output", str(tmp_path / "conf" / "data" / f"{name}.yaml")]

    return made


def written(tmp_path: Path, name: str = "mine") -> str:
    return str(tmp_path / "conf" / "data" / f"{name}.yaml")


@pytest.mark.parametrize(
    ("slices", "train", "validation", "test"),
    [
        (list(range(12)), [0, 1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11]),
        ([0, 2, 4, 6, 8, 10], [0, 2, 4, 6], [8], [10]),
        ([0, 1, 5, 6, 11], [0, 1, 5], [6], [11]),
        ([3, 4], [3], [4], []),
        ([3, 4, 9], [3], [4], [9]),
    ],
)
def test_a_new_description_is_loaded_and_passes_the_check(
    slices: list[int],
    train: list[int],
    validation: list[int],
    test: list[int],
    write: Any,
    tmp_path: Path,
    capsys: Any,
) -> None:
    image, labels = scene(slices)
    assert main([*write(image, labels), "--class", "mito=2"]) == 0
    text = capsys.readouterr().out
    assert f"slices with labels: {len(slices)} of 12; {len(train)} train" in text
    assert f"label values: 0 ({(labels == 0).mean():.2%}), 1 ({(labels == 1).mean():.2%})" in text
    description = load_description(written(tmp_path))
    assert (description.name, description.ignore) == ("mine", None)
    assert {name: one.label for name, one in description.classes.items()} == {
        "class1": 1,
        "mito": 2,
    }
    (volume,) = description.volumes
    assert (volume.offset, volume.voxel_size) == ([0, 0, 0], [20, 5, 4])
    found = {split: parse_slices(items, 12, "") for split, items in volume.split.items()}
    expected = {"train": train, "validation": validation} | ({"test": test} if test else {})
    assert found == expected
    assert [one.z for one in load_slices(description)["train"]] == train
    assert main(["check", written(tmp_path), "--page", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize("count", range(2, 40))
def test_splits_share_the_slices_out_in_order(count: int) -> None:
    slices = list(range(3, 3 + 7 * count, 7))
    splits = proposed_splits(slices)
    assert [z for own in splits.values() for z in own] == slices
    assert list(splits) == ["train", "validation", "test"][: 3 if count > 2 else 2]
    assert all(splits.values())
    assert abs(len(splits["validation"]) - 0.2 * count) <= 0.6
    assert len(splits["train"]) >= len(splits["validation"])


@pytest.mark.parametrize(
    "positions", [[0], [5], [0, 1], [0, 1, 2], [4, 14, 24, 34], [0, 1, 3], [2, 9], [0, 3, 6, 10]]
)
def test_slices_in_words_are_those_slices(positions: list[int]) -> None:
    assert parse_slices(yaml.safe_load(compact_slices(positions)), 40, "") == positions


def test_labels_of_a_part_of_the_image(write: Any, tmp_path: Path) -> None:
    image, labels = scene([1, 2, 3, 4])
    image = np.random.default_rng(0).integers(0, 200, (30, 50, 60)).astype(np.uint8)
    labels[4, 0, 0] = 255
    arguments = write(image, labels)
    assert main([*arguments, "--offset", "10,9,7"]) == 0
    description = load_description(written(tmp_path))
    assert (description.volumes[0].offset, description.ignore) == ([10, 9, 7], 255)
    assert parse_slices(description.volumes[0].split["train"], 30, "") == [11, 12]
    one = load_slices(description)["test"][0]
    assert one.z == 14
    np.testing.assert_array_equal(one.labels[9:41, 7:39], labels[4])
    assert main(["check", written(tmp_path), "--page", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize(
    ("shape", "offset", "axis"),
    [
        ((13, 32, 32), [0, 0, 0], "z"),
        ((12, 32, 32), [1, 0, 0], "z"),
        ((3, 32, 33), [0, 0, 0], "x"),
        ((3, 30, 32), [0, 3, 0], "y"),
        ((3, 3, 3), [0, 0, -1], "x"),
    ],
)
def test_labels_outside_the_image(
    shape: tuple[int, int, int], offset: list[int], axis: str
) -> None:
    with pytest.raises(
        FibsegError, match=rf"lies outside the image \(12, 32, 32\) along {axis}; .*--offset z,y,x"
    ):
        draft_from_stacks(
            stack(np.zeros((12, 32, 32), np.uint8)), stack(np.ones(shape, np.uint8)), offset, None
        )


def test_labels_that_fit_exactly() -> None:
    found = draft_from_stacks(
        stack(np.zeros((12, 32, 32))), stack(np.ones((2, 30, 31), np.uint8)), [10, 2, 1], None
    )
    assert (found.annotated, found.offset, found.depth) == ([10, 11], [10, 2, 1], 12)


def test_labels_that_are_none() -> None:
    image = stack(np.zeros((12, 32, 32), np.uint8))
    many = np.zeros((12, 32, 32), np.uint16)
    many.ravel()[:MOST_LABEL_VALUES] = np.arange(MOST_LABEL_VALUES)
    many[1, 0, 0] = 5
    assert len(draft_from_stacks(image, stack(many), [0, 0, 0], None).values) == MOST_LABEL_VALUES
    many[2, 0, 0] = 999
    empty, one = np.zeros((12, 32, 32), np.uint8), scene([5])[1]
    empty[3] = 255
    for labels, said in (
        (many, f"over {MOST_LABEL_VALUES} label values: objects with a number each"),
        (empty, "nothing but 0 and 255; there is no annotation"),
        (one, "one annotated slice; at least two are needed"),
        (np.ones((12, 32, 32), np.float32), "float32; labels are integers"),
    ):
        with pytest.raises(FibsegError, match=said) as raised:
            draft_from_stacks(image, stack(labels), [0, 0, 0], None)
        assert len(str(raised.value).splitlines()) == 1


def test_voxel_size_of_the_command_then_the_image_then_the_labels(
    write: Any, tmp_path: Path, capsys: Any
) -> None:
    image, labels = scene([1, 2])
    ours, theirs = (8.0, 4.0, 4.0), (20.0, 5.0, 5.0)
    for size, one, other, expected in (
        ([1, 2, 3], ours, theirs, [1, 2, 3]),
        (None, ours, theirs, list(ours)),
        (None, None, theirs, list(theirs)),
        (None, None, None, None),
    ):
        assert (
            draft_from_stacks(stack(image, one), stack(labels, other), [0, 0, 0], size).voxel_size == expected
        )
    arguments = write(image, labels, voxels=False)
    assert main(arguments) == 0
    assert main(["check", written(tmp_path)]) == 2
    assert "voxel_size: must be given, in its file, in place of ???" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "mine.yaml: exists already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--voxel-size", "20,5,4.5"]) == 0
    assert load_description(written(tmp_path)).volumes[0].voxel_size == [20, 5, 4.5]


@pytest.mark.parametrize(
    "name", ["rough ER", "Mito #1", "a: b", "no", "null", "12", "[er]", "{er}", "*er", 'a"b', "é"]
)
def test_any_name_of_a_class(name: str, write: Any, tmp_path: Path) -> None:
    assert main([*write(*scene([1, 2, 3])), "--class", f"{name}=2"]) == 0
    assert {key: one.label for key, one in load_description(written(tmp_path)).classes.items()} == {
        "class1": 1,
        name: 2,
    }


@pytest.mark.parametrize("folder", ["a b", "a #1", "a: b", "a, [b]", 'a"b, c', "a'b"])
def test_any_folder(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    image, labels = scene([1, 2, 3])
    files = [str(tmp_path / folder / name) for name in ("image.tif", "labels.tif")]
    write_stack(files[0], image, [20, 5, 5])
    write_stack(files[1], labels)
    assert main(["new", "mine", *files, "--output", str(tmp_path / "mine.yaml")]) == 0
    (volume,) = load_description(str(tmp_path / "mine.yaml")).volumes
    assert [volume.image, volume.labels] == files


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["er=7"], "er=7: no label has this value; there are [0, 1, 2]"),
        (["er"], "expected NAME=VALUE"),
        (["=1"], "--class"),
        (["er=1,2"], "--class"),  # the description has one value per class
        (["er=1", "mito=1"], "--class"),
        (["er=0"], "--class"),
    ],
)
def test_names_that_no_class_can_take(
    more: list[str], said: str, write: Any, tmp_path: Path, capsys: Any
) -> None:
    arguments = write(*scene([1, 2, 3]))
    assert main([*arguments, *(part for one in more for part in ("--class", one))]) == 2
    assert said in capsys.readouterr().err
    assert not Path(written(tmp_path)).exists()


def test_a_mask_of_255_is_told_apart_from_no_annotation(write: Any, tmp_path: Path) -> None:
    """0 and 255 is what ImageJ makes of a mask; a person who names 255 a class says that it is one."""
    image, labels = scene([1, 2, 3])
    labels[labels > 0] = 255
    assert main([*write(image, labels), "--class", "mito=255"]) == 0
    description = load_description(written(tmp_path))
    assert {name: one.label for name, one in description.classes.items()} == {"mito": 255}
    assert description.ignore is None


def test_an_image_of_one_grey_value_fails_the_check_as_it_fails_training(
    write: Any, tmp_path: Path
) -> None:
    image, labels = scene([1, 2, 3])
    assert main(write(image * 0, labels)) == 0
    assert main(["check", written(tmp_path), "--page", str(tmp_path / "page.html")]) == 2


@pytest.mark.parametrize("size", ["0,5,5", "20,-5,5", "nan,5,5"])
def test_voxel_sizes_that_are_none(size: str, write: Any, tmp_path: Path) -> None:
    assert main([*write(*scene([1, 2, 3])), "--voxel-size", size]) == 2
    assert not Path(written(tmp_path)).exists()


def test_labels_of_another_shape_need_an_offset(write: Any, capsys: Any) -> None:
    """They fit at 0, 0, 0, and lie there by chance only: a person must say so."""
    image, labels = scene([1, 2, 3])
    arguments = write(image, labels[:, :30, :30])
    assert main(arguments) == 2
    assert "--offset" in capsys.readouterr().err
    assert main([*arguments, "--offset", "0,0,0"]) == 0


def test_the_next_command_fits_where_the_description_lies(
    write: Any, tmp_path: Path, capsys: Any
) -> None:
    """train.py finds a description in a folder called data; elsewhere the command must not be offered as it is."""
    arguments = write(*scene([1, 2, 3]))
    assert main([*arguments[:-1], str(tmp_path / "mine.yaml")]) == 0
    assert "fibseg train data=mine experiment=quick" not in capsys.readouterr().out
