"""Objects that continue from one split into another, against scikit-image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label

from fibseg.data.inspection.leaks import ObjectsAcrossSplits, SharedObjects


def with_overlaps(volume: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put between each two slices what both hold.

    26-connected labels of it join what overlaps along z or touches in a slice, and nothing else.
    """
    slices = [volume[0]]
    for first, second in pairwise(volume):
        slices += [first & second, second]
    return np.stack(slices)


def shared_by_scikit_image(
    volume: NDArray[np.bool_], splits: Sequence[str], split: str, into: str
) -> SharedObjects:
    labels = label(with_overlaps(volume), connectivity=3)[::2]
    split_labels = labels[[name == split for name in splits]]
    into_labels = labels[[name == into for name in splits]]
    numbers = set(np.unique(split_labels).tolist()) - {0}
    both = numbers & set(np.unique(into_labels).tolist())
    return SharedObjects(
        objects=len(both),
        all_objects=len(numbers),
        pixels=int(np.isin(split_labels, list(both)).sum()),
        all_pixels=int((split_labels > 0).sum()),
    )


@pytest.mark.parametrize("density", [0.1, 0.25, 0.35, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_objects_against_scikit_image(density: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    volume = generator.random((9, 14, 17)) < density
    splits = [("train", "validation", "test", "")[k] for k in generator.integers(0, 4, 9)]
    if seed % 2:
        splits = ["train"] * 4 + [""] * (seed // 2) + ["test"] * (5 - seed // 2)
    objects = ObjectsAcrossSplits()
    specks = 0
    for z, (split, mask) in enumerate(zip(splits, volume, strict=True)):
        specks += objects.add(z, split, mask)
    for split, into in (("test", "train"), ("validation", "train"), ("test", "validation")):
        expected = shared_by_scikit_image(volume, splits, split, into)
        assert objects.shared(split, into) == expected
    areas = [np.bincount(label(mask, connectivity=2).ravel())[1:] for mask in volume]
    assert specks == sum(int((slice_areas < 4).sum()) for slice_areas in areas)


def test_two_arms_that_meet_later_are_one_object() -> None:
    arms = np.zeros((3, 9, 9), bool)
    arms[:, 1:3, 1:8] = True
    arms[:, 6:8, 1:8] = True
    arms[1, 1:8, 4] = True
    objects = ObjectsAcrossSplits()
    for z, split in enumerate(("test", "", "train")):
        objects.add(z, split, arms[z])
    assert objects.shared("test", "train") == SharedObjects(1, 1, 28, 28)
