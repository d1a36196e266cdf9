"""Mistakes in a data description and its files: each gets one sentence, which the docs quote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile

from tests.support import TINY, Commands
from tests.support.mistakes import change_data, change_pixels, check_mistakes, check_row


def edit(commands: Commands, old: str, new: str) -> None:
    """Change the tiny data description."""
    assert old in TINY
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(TINY.replace(old, new))


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
        ["several channels", "[9, 96, 96, 3]"],
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
}


@pytest.mark.parametrize("case", DATA_MISTAKES)
def test_mistakes_in_the_data(commands: Commands, case: str) -> None:
    make, fragments = DATA_MISTAKES[case]
    make(commands)
    check_row(f"data: {case}", commands.refused(commands.train(), *fragments))


def test_the_docs_have_these_mistakes() -> None:
    check_mistakes("data:", [f"data: {case}" for case in DATA_MISTAKES])
