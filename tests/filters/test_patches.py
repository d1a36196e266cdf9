"""Single patches: each filtered by itself, in threads."""

from __future__ import annotations

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.filters.grain import grain_filter
from fibseg.filters.patches import PatchFilter

AREAS = [5, 40]


def patches(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 24, 30), np.uint8)


def by_hand(images: np.ndarray) -> np.ndarray:
    """The channels, by Higra."""
    return np.array(
        [
            [image, *(grain_filter(image.astype(np.uint16), [area])[0] for area in AREAS)]
            for image in images
        ]
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_each_patch_has_a_tree_of_its_own(threads: int) -> None:
    images = patches(5)
    with PatchFilter(AREAS, threads) as patch_filter:
        np.testing.assert_array_equal(patch_filter.begin(images)(), by_hand(images))
        submitted = patch_filter.submit(images[:2])
        np.testing.assert_array_equal(submitted.result(), by_hand(images[:2]))


def test_an_error_reaches_the_caller() -> None:
    with (
        PatchFilter([0], 2) as patch_filter,
        pytest.raises(FibsegError, match="area 0 is below 1"),
    ):
        patch_filter.begin(patches(2))()
