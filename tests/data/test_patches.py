"""Patches as NumPy cuts, turns and mirrors them, and what a batch asks of the device."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from fibseg.data.patches import SlicePixels, bytes_of_pixel
from fibseg.data.sampling import Patches, PatchSampler

SIZE = 16
SHAPES = ((40, 50), (33, 21), (16, 90))


def slices(channels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random images and labels of slices that differ in their sides."""
    rng = np.random.default_rng(channels)
    images = [rng.integers(0, 256, (channels, *shape)).astype(np.uint8) for shape in SHAPES]
    labels = [rng.integers(0, 4, shape).astype(np.uint8) for shape in SHAPES]
    return images, labels


def expected(pixels: list[np.ndarray], patches: Patches, i: int, size: int) -> np.ndarray:
    """A patch by slices, rot90 and negative steps."""
    rows = slice(patches.row[i], patches.row[i] + size)
    columns = slice(patches.column[i], patches.column[i] + size)
    patch = np.rot90(
        pixels[patches.index[i]][..., rows, columns], patches.quarter_turns[i], axes=(-2, -1)
    )
    patch = patch[..., ::-1] if patches.flip_columns[i] else patch
    return patch[..., ::-1, :] if patches.flip_rows[i] else patch


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 11])
def test_patches_are_cut_turned_and_mirrored_like_numpy_does(channels: int) -> None:
    images, labels = slices(channels)
    pixels = SlicePixels(images, labels, torch.device("cpu"))
    patches = PatchSampler(labels, SIZE, 0.5).draw(64, seed=(0,), augment=True)
    batch = pixels.cut(pixels.places(patches, SIZE), SIZE)
    assert batch.images.shape == (64, channels, SIZE, SIZE)
    assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)
    assert batch.images.movedim(1, -1).float().is_contiguous()
    np.testing.assert_array_equal(batch.drawn_class, patches.drawn_class)
    for i in range(64):
        np.testing.assert_array_equal(batch.images[i], expected(images, patches, i, SIZE))
        np.testing.assert_array_equal(batch.labels[i], expected(labels, patches, i, SIZE))
    for image, kept in zip(images, pixels.images, strict=True):
        np.testing.assert_array_equal(image, kept)
    for slice_labels, kept in zip(labels, pixels.labels, strict=True):
        np.testing.assert_array_equal(slice_labels, kept)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_all_turns_and_flips_at_every_corner(size: int) -> None:
    image = np.arange(81, dtype=np.uint8).reshape(1, 9, 9)
    pixels = SlicePixels([image], [image[0]], torch.device("cpu"))
    table = np.array(
        [
            (0, row, column, *flips, 0)
            for row, column in product((0, 9 - size), repeat=2)
            for flips in product(range(4), range(2), range(2))
        ]
    ).T
    patches = Patches(*table)
    batch = pixels.cut(pixels.places(patches, size), size)
    for i in range(len(patches)):
        np.testing.assert_array_equal(batch.images[i], expected([image], patches, i, size))
    if size > 1:
        first = {tuple(patch.flatten().tolist()) for patch in batch.images[:16]}
        assert len(first) == 8


def test_bytes_of_a_pixel() -> None:
    assert [bytes_of_pixel(count) for count in range(1, 18)] == [
        *(2, 4, 4),
        *(8, 8, 8, 8),
        *[16] * 8,
        *(24, 24),
    ]
