"""The eight flips and quarter turns of a patch, against numpy's."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from fibseg.data.augmentation import turned


@pytest.mark.parametrize("shape", [(6, 6), (3, 5, 5)])
def test_turned_is_rot90_then_flips(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for turns, flip_columns, flip_rows in product(range(4), (False, True), (False, True)):
        expected = np.rot90(pixels, turns, axes=(-2, -1))
        if flip_columns:
            expected = np.flip(expected, axis=-1)
        if flip_rows:
            expected = np.flip(expected, axis=-2)
        result = turned(torch.from_numpy(pixels), turns, flip_columns, flip_rows)
        assert result.dtype == torch.uint8
        np.testing.assert_array_equal(result.numpy(), expected)


def test_there_are_eight_of_them() -> None:
    pixels = torch.arange(9).view(3, 3)
    results = {
        tuple(turned(pixels, turns, flip_columns, flip_rows).flatten().tolist())
        for turns, flip_columns, flip_rows in product(range(4), (False, True), (False, True))
    }
    assert len(results) == 8
    assert torch.equal(turned(pixels, 0, False, False), pixels)
