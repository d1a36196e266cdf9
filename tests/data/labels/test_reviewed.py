"""Reviewed regions: in a description, in `fibseg new`, `import` and `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from matplotlib.path import Path as Outline

from fibseg.arrays import IGNORE
from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.description import ClassDescription
from fibseg.data.labels.reviewed import open_reviewed
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from fibseg.stack import open_stack, write_stack
from tests.support import describe

SHAPE = (4, 12, 16)
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[:, 2:5, 3:9] = 1
SPLIT: dict[str, list[Any]] = {"train": [0], "validation": [2]}

POLYGON = np.array([[1.2, 2.1], [9.3, 3.4], [6.0, 13.2]])
RECTANGLE = np.array([[-0.5, -0.5], [-0.5, 7.4], [5.4, 7.4], [5.4, -0.5]])
ELLIPSE = np.array([[2.0, 3.0], [2.0, 11.0], [8.0, 11.0], [8.0, 3.0]])


def write_shapes(path: Path, *shapes: tuple[int | None, str, np.ndarray]) -> str:
    """A CSV file as napari's shapes layer saves it; a shape without a slice has two axes."""
    axes = "axis-0,axis-1" if shapes[0][0] is None else "axis-0,axis-1,axis-2"
    lines = [f"index,shape-type,vertex-index,{axes}"]
    for index, (z, kind, points) in enumerate(shapes):
        for vertex, point in enumerate(points.tolist()):
            place = point if z is None else [float(z), *point]
            lines.append(f"{index},{kind},{vertex}," + ",".join(map(repr, place)))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)
    write_stack(tmp_path / "image.tif", image, [20, 5, 5])
    write_stack(tmp_path / "labels.tif", LABELS, [20, 5, 5])
    return tmp_path


def read(folder: Path, reviewed: Any, **changes: Any) -> dict[int, np.ndarray]:
    """Class indices of the slices in SPLIT by z, with a reviewed region."""
    volume = {"split": SPLIT, "reviewed": reviewed} | changes
    description = describe(folder, volume, classes={"er": ClassDescription(1, 1.0)}, ignore=255)
    slices = load_slices(description)
    return {entry.z: entry.labels for split in ("train", "validation") for entry in slices[split]}


def test_boxes_and_whole_slices(folder: Path) -> None:
    labels = read(folder, {0: [[0, 0, 6, 8], [1, 7, 3, 16]], "2:4": "whole"})
    region = np.zeros(SHAPE[1:], bool)
    region[0:6, 0:8] = True
    region[1:3, 7:16] = True
    np.testing.assert_array_equal(labels[0], np.where(region, LABELS[0], IGNORE))
    np.testing.assert_array_equal(labels[2], LABELS[2])


def test_a_mask_and_the_ignored_value_within_it(folder: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 1:8] = 7
    write_stack(folder / "mask.tif", mask, [20, 5, 5])
    unsure = LABELS.copy()
    unsure[:, 3, 3] = 255
    write_stack(folder / "unsure.tif", unsure, [20, 5, 5])
    labels = read(folder, "mask.tif", labels="unsure.tif")
    np.testing.assert_array_equal(labels[2], np.where(mask[2] > 0, unsure[2], IGNORE))


@pytest.mark.parametrize(
    ("kind", "points"), [("polygon", POLYGON), ("rectangle", RECTANGLE), ("ellipse", ELLIPSE)]
)
def test_shapes_of_napari(kind: str, points: np.ndarray, folder: Path) -> None:
    path = write_shapes(folder / "shapes.csv", (0, kind, points), (2, "rectangle", RECTANGLE))
    labels = read(folder, "shapes.csv")
    centres = np.argwhere(np.ones(SHAPE[1:]))
    if kind == "ellipse":
        inside = ((centres[:, 0] - 5) / 3) ** 2 + ((centres[:, 1] - 7) / 4) ** 2 <= 1
    else:
        inside = Outline(points).contains_points(centres)
    region = inside.reshape(SHAPE[1:])
    assert 10 < region.sum() < region.size / 2
    np.testing.assert_array_equal(labels[0], np.where(region, LABELS[0], IGNORE))
    assert open_reviewed(path, ".", SHAPE, "here").slices == [0, 2]


def test_shapes_of_a_single_picture(tmp_path: Path) -> None:
    path = write_shapes(tmp_path / "shapes.csv", (None, "rectangle", RECTANGLE))
    assert open_reviewed(path, ".", (1, 12, 16), "here").read(0).sum() == 6 * 8
    with pytest.raises(FibsegError, match="draw them on the stack"):
        open_reviewed(path, ".", SHAPE, "here")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, r"expected the path of a mask"),
        (3, r"expected the path of a mask"),
        ({0: "half"}, r"slice 0: half; expected"),
        ({0: []}, r"slice 0: \[\]; expected"),
        ({0: [[0, 0, 5]]}, r"\[0, 0, 5\]; expected"),
        ({0: [[0, 0, 5, 2.5]]}, r"2.5\]; expected"),
        ({0: [[0, 0, 13, 4]]}, r"leaves the slice, which has 12 rows and 16 columns"),
        ({0: [[3, 0, 3, 4]]}, r"is empty or leaves"),
        ({4: "whole"}, r"leaves the image, which has slices 0 to 3"),
        ({0: "whole", "0:2": "whole"}, r"slice 0 stands there twice"),
        ({"x": "whole"}, r"'x' is no slice"),
        ("small.tif", r"is of shape \(4, 6, 8\), but the image of \(4, 12, 16\)"),
        ("none.csv", r"none.csv: No such file"),
        ("labels.csv", r"labels.csv: no shapes; expected the CSV file"),
        ("binary.csv", r"binary.csv: no shapes"),
        ("nan.csv", r"nan.csv: no shapes"),
        ("line.csv", r"a line encloses no area"),
        ("tilted.csv", r"runs through several slices"),
        ("far.csv", r"a shape in slice 9; the image has slices 0 to 3"),
        ({0: "whole"}, r"split.validation: nothing of slice 2 is reviewed"),
    ],
)
def test_what_is_no_region_is_refused(value: Any, message: str, folder: Path) -> None:
    write_stack(folder / "small.tif", LABELS[:, :6, :8], [20, 5, 5])
    (folder / "labels.csv").write_text("a,b\n1,2\n")
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    write_shapes(folder / "nan.csv", (0, "polygon", np.array([[0, np.nan], [1, 1], [2, 0]])))
    write_shapes(folder / "line.csv", (0, "line", POLYGON[:2]))
    tilted = folder / write_shapes(folder / "tilted.csv", (0, "polygon", POLYGON))
    tilted.write_text(tilted.read_text().replace("0,polygon,2,0.0", "0,polygon,2,1.0"))
    write_shapes(folder / "far.csv", (9, "polygon", POLYGON))
    with pytest.raises(FibsegError, match=message):
        read(folder, value)


def test_new_takes_reviewed_slices_as_annotated(folder: Path) -> None:
    """Slices without a class count, too; what lies outside of the region does not."""
    labels = LABELS.copy()
    labels[3] = 0
    labels[1, 11, 15] = 9
    write_stack(folder / "painted.tif", labels, [20, 5, 5])
    shapes = [(z, "rectangle", RECTANGLE) for z in (0, 1, 3)]
    region = write_shapes(folder / "shapes.csv", *shapes)
    files = [str(folder / "image.tif"), str(folder / "painted.tif")]
    output = str(folder / "mine.yaml")
    assert main(["new", "mine", *files, "--reviewed", region, "--output", output]) == 0
    volume = yaml.safe_load(Path(output).read_text())["volumes"][0]
    assert volume["reviewed"] == region
    assert sorted(z for entries in volume["split"].values() for z in entries) == [0, 1, 3]
    description = load_description(output)
    assert [entry.label for entry in description.classes.values()] == [1]
    slices = load_slices(description)
    (last,) = slices["test"]
    assert last.z == 3 and np.unique(last.labels).tolist() == [0, IGNORE]


def test_import_writes_what_is_outside_as_unannotated(folder: Path) -> None:
    """Labels of a part of the image, whose region is drawn on the image."""
    part = np.zeros((3, 6, 8), np.uint8)
    part[0, 1, 1:4] = 5
    part[1, 5, 7] = 77  # outside of the region
    tifffile.imwrite(folder / "part.tif", part, photometric="minisblack")
    region = write_shapes(
        folder / "shapes.csv", (1, "rectangle", RECTANGLE), (2, "rectangle", RECTANGLE)
    )
    words = ["import", str(folder / "part.tif"), str(folder / "out.tif"), "--class", "er=5"]
    words += ["--image", str(folder / "image.tif"), "--offset", "1,2,3", "--reviewed", region]
    assert main(words) == 0
    expected = np.full((3, 6, 8), IGNORE)
    # Rows 0 to 5 and columns 0 to 7 of the image are rows to 3 and columns to 4 of the labels.
    expected[:2, :4, :5] = np.where(part == 5, 1, 0)[:2, :4, :5]
    np.testing.assert_array_equal(np.stack(list(open_stack(folder / "out.tif"))), expected)


def test_score_compares_within_the_region(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prediction = LABELS.copy()
    prediction[:, 6:] = 1
    write_stack(folder / "prediction.tif", prediction, [20, 5, 5])
    files = [str(folder / "prediction.tif"), str(folder / "labels.tif")]
    region = write_shapes(folder / "shapes.csv", (1, "rectangle", RECTANGLE))
    assert main(["score", *files, "--reviewed", region]) == 0
    inside = capsys.readouterr().out
    assert "1 slice;" in inside and "1.000" in inside
    assert main(["score", *files, "--slices", "1"]) == 0
    assert "1.000" not in capsys.readouterr().out
