"""Mistakes in a data description and its files: each gets one sentence, which the docs quote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile

from fibseg.stack import write_stack
from tests.support import TINY, Commands
from tests.support.mistakes import change_data, change_pixels, check_mistakes, check_row


def edit(commands: Commands, old: str, new: str) -> None:
    """Change the tiny data description."""
    assert old in TINY
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(TINY.replace(old, new))


def edit_objects(commands: Commands, instances: str) -> None:
    """Let mitochondria have objects, which these ids give."""
    text = TINY.replace("weight: 0.7}", "weight: 0.7, instances: true}")
    text = text.replace("split:", f"instances: {instances}\n    split:")
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(text)


def short_ids(commands: Commands, folder: Path) -> None:
    tifffile.imwrite(folder / "ids.tif", tifffile.imread(folder / "labels.tif")[1:])
    edit_objects(commands, "ids.tif")


def negative_ids(commands: Commands, folder: Path) -> None:
    labels = tifffile.imread(folder / "labels.tif").astype(np.int16)
    tifffile.imwrite(folder / "ids.tif", labels - 4)
    edit_objects(commands, "ids.tif")


def truncate(folder: Path) -> None:
    content = (folder / "image.tif").read_bytes()
    (folder / "image.tif").write_bytes(content[: len(content) // 2])


def as_slices(folder: Path) -> list[Path]:
    pixels = tifffile.imread(folder / "image.tif")
    (folder / "image.tif").unlink()
    (folder / "image.tif").mkdir()
    for z, page in enumerate(pixels):
        skimage.io.imsave(folder / "image.tif" / f"z{z}.png", page, check_contrast=False)
    return sorted((folder / "image.tif").iterdir())


def cut_png(folder: Path) -> None:
    path = as_slices(folder)[2]
    path.write_bytes(path.read_bytes()[:200])


def unequal(folder: Path) -> None:
    skimage.io.imsave(as_slices(folder)[3], np.zeros((50, 50), np.uint8), check_contrast=False)


def empty(folder: Path) -> None:
    for path in as_slices(folder):
        path.unlink()


def with_nan(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.astype(np.float32)
    pixels[5, 3, 3] = np.nan
    return pixels


def without_er(labels: np.ndarray) -> np.ndarray:
    labels[:4][labels[:4] == 3] = 0
    return labels


def colours(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels] * 3, -1)


def numbered_slices(folder: Path, name: str, numbers: Sequence[int]) -> None:
    """Make a folder of single slices of a stack, with numbers in their names."""
    pixels = tifffile.imread(folder / name)
    (folder / name).unlink()
    (folder / name).mkdir()
    for z, number in enumerate(numbers):
        tifffile.imwrite(folder / name / f"slice_{number:03d}.tif", pixels[z])


def sparse_labels(folder: Path) -> None:
    numbered_slices(folder, "labels.tif", [0, 3, 6, 9])


def labels_of_other_slices(folder: Path) -> None:
    numbered_slices(folder, "image.tif", range(9))
    numbered_slices(folder, "labels.tif", [0, 2, 4, 8, 12])


def other_voxels(folder: Path) -> None:
    write_stack(folder / "labels.tif", tifffile.imread(folder / "labels.tif"), [20, 2.5, 2.5])


def fractions(labels: np.ndarray) -> np.ndarray:
    return (labels / 4).astype(np.float32)


def second_volume(change: Callable[[np.ndarray], np.ndarray], split: str) -> Callable[..., None]:
    """What adds a volume whose image is a changed copy of the first one's."""

    def apply(commands: Commands) -> None:
        def copy(folder: Path) -> None:
            pixels = change(tifffile.imread(folder / "image.tif"))
            tifffile.imwrite(folder / "second.tif", pixels)

        change_data(commands, copy)
        entry = "  - {image: second.tif, labels: labels.tif, voxel_size: [20, 5, 5], split: "
        edit(commands, "phantom:", f"{entry}{split}}}\nphantom:")

    return apply


DATA_MISTAKES = {
    "missing file": (
        lambda c: change_data(c, lambda f: (f / "image.tif").unlink()),
        ["image.tif", "no such file"],
    ),
    "empty folder": (lambda c: change_data(c, empty), ["holds no slices"]),
    "unequal slices": (lambda c: change_data(c, unequal), ["z3.png", "50 x 50", "96 x 96"]),
    "labels outside": (
        lambda c: edit(c, "split:", "offset: [2, 0, 0]\n    split:"),
        ["lie outside the image", "along z"],
    ),
    "unclaimed value": (
        lambda c: edit(c, "  er: {label: 3, weight: 0.9}\n", ""),
        ["label value 3", "no class"],
    ),
    "absent class": (
        lambda c: change_data(c, change_pixels("labels.tif", without_er)),
        ["class er", "training slices"],
    ),
    "objects of no class": (
        lambda c: edit(c, "split:", "instances: labels.tif\n    split:"),
        ["data.volumes[0].instances: given, but no class has objects"],
    ),
    "objects of another class": (
        lambda c: edit_objects(c, "{er: labels.tif}"),
        ["er is no class of instances: true"],
    ),
    "objects of another shape": (
        lambda c: change_data(c, lambda f: short_ids(c, f)),
        ["ids.tif is of shape (8, 96, 96), but the labels are of (9, 96, 96)"],
    ),
    "a negative id": (
        lambda c: change_data(c, lambda f: negative_ids(c, f)),
        ["ids.tif, slice 0: id -3; expected 0 or more"],
    ),
    "overlap": (
        lambda c: edit(c, '["4:6"]', '["3:6"]'),
        ["slice 3 is in both train and validation"],
    ),
    "split leaves": (
        lambda c: edit(c, "[7, 8]", "[8, 9]"),
        ["'9' is empty or leaves the image", "0 to 8"],
    ),
    "nan": (lambda c: change_data(c, change_pixels("image.tif", with_nan)), ["slice 5", "NaN"]),
    "cut tiff": (lambda c: change_data(c, truncate), ["image.tif", "cut off"]),
    "cut png": (lambda c: change_data(c, cut_png), ["z2.png", "cut off"]),
    "rgb": (
        lambda c: change_data(c, change_pixels("image.tif", lambda p: np.stack([p] * 3, -1))),
        ["colours", "--class NAME=#rrggbb"],
    ),
    "broken YAML": (lambda c: edit(c, "[0]", "[0"), ["expected", "line"]),
    "infinite weight": (
        lambda c: edit(c, "weight: 0.9", "weight: .inf"),
        ["a class weight of inf is impossible"],
    ),
    "empty labels": (
        lambda c: edit(c, "labels: labels.tif", "labels:"),
        ["labels", "expected a path"],
    ),
    "misspelt in YAML": (
        lambda c: edit(c, "labels: labels.tif", "label: labels.tif"),
        ["label", "no such key"],
    ),
    "labels of single slices": (
        lambda c: change_data(c, sparse_labels),
        ["0, 3, 6, 9 are labels of single slices", "without numbers"],
    ),
    "labels of other slices": (
        lambda c: change_data(c, labels_of_other_slices),
        ["number 12 of the file slice_012.tif"],
    ),
    "two sizes of voxels": (
        lambda c: change_data(c, other_voxels),
        ["20 x 2.5 x 2.5 nm", "20 x 5 x 5 nm", "bring them to one size"],
    ),
    "fractions as labels": (
        lambda c: change_data(c, change_pixels("labels.tif", fractions)),
        ["slice 0: value 0.", "whole numbers"],
    ),
    "8 and 16 bits": (
        second_volume(lambda pixels: pixels.astype(np.uint16) * 250, "{train: [8]}"),
        ["volume 0, image.tif (uint8", "of 256 grey levels"],
    ),
    "image listed twice": (
        second_volume(lambda pixels: pixels, "{test: [1]}"),
        ["slice 1 of second.tif, a copy of slice 1 of image.tif, is in both train and test"],
    ),
}


@pytest.mark.parametrize("case", DATA_MISTAKES)
def test_mistakes_in_the_data(commands: Commands, case: str) -> None:
    make, fragments = DATA_MISTAKES[case]
    make(commands)
    check_row(f"data: {case}", commands.refused(commands.train(), *fragments))


def test_the_docs_have_these_mistakes() -> None:
    check_mistakes("data:", [f"data: {case}" for case in DATA_MISTAKES])
