"""Maps of objects against scipy's erosions, one object at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fibseg.arrays import IGNORE
from fibseg.data.labels.instances import UNKNOWN
from fibseg.models.objects.maps import CONTACT_WEIGHT, RIM, map_targets
from tests.support.instances import random_slices


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects and labels (2, 64, 64): quarters of a slice cut the classes into touching objects."""
    labels, _ = random_slices(depth=2, side=64, seed=seed)
    rows, columns = np.indices((64, 64)) // 20
    objects = np.where(labels > 0, 1 + rows * 4 + columns + 100 * labels, 0)
    return torch.from_numpy(objects.astype(np.int32)), torch.from_numpy(labels).long()


@pytest.mark.parametrize("seed", [0, 5])
def test_interiors_are_erosions_of_one_object_at_a_time(seed: int) -> None:
    objects, labels = example(seed)
    interior, weights = map_targets(objects, labels, [1, 2])
    square = np.ones((2 * RIM + 1, 2 * RIM + 1), bool)
    for n in range(2):
        for row, index in enumerate((1, 2)):
            numbers = np.where(labels[n] == index, objects[n], 0)
            expected = np.zeros(numbers.shape, bool)
            for number in np.unique(numbers)[1:]:
                # The rim of the patch is no border of an object.
                expected |= ndimage.binary_erosion(numbers == number, square, border_value=1)
            np.testing.assert_array_equal(interior[n, row].numpy(), expected)
    assert interior.any() and (weights > 0).float().mean() > 0.8


def test_pixels_where_two_objects_meet_count_more() -> None:
    objects, labels = example()
    _, weights = map_targets(objects, labels, [1, 2])
    window = 2 * RIM + 1
    for row, index in enumerate((1, 2)):
        numbers = np.where(labels[0] == index, objects[0], 0)
        largest = ndimage.maximum_filter(numbers, window, mode="nearest")
        smallest = ndimage.minimum_filter(np.where(numbers, numbers, 10**6), window, mode="nearest")
        expected = np.where((largest > smallest) & (largest > 0), CONTACT_WEIGHT, 1)
        counts = weights[0, row].numpy() > 0
        np.testing.assert_array_equal(weights[0, row].numpy()[counts], expected[counts])
    assert (weights == CONTACT_WEIGHT).any() and (weights == 1).any()


def test_what_nobody_knows_does_not_count() -> None:
    objects, labels = example()
    labels[0, 30, 30] = IGNORE
    objects[1][labels[1] == 2] = UNKNOWN
    known = map_targets(objects, labels, [1, 2])[1] > 0
    around = slice(30 - RIM, 31 + RIM)
    assert not known[0, :, around, around].any()
    assert known[0, 0, 30, 31 + RIM]
    assert not known[1, 1][labels[1] == 2].any()
    # The rim of the patch: the border of an object may lie right behind it.
    assert not known[:, :, :RIM].any() and known[0, 0, RIM, RIM]


def turned(pixels: torch.Tensor) -> torch.Tensor:
    """A quarter turn and a mirror of (..., H, W)."""
    return pixels.rot90(1, (-2, -1)).flip(-1)


def test_maps_turn_with_the_patch_and_know_no_ids() -> None:
    objects, labels = example()
    target, known = map_targets(objects, labels, [1, 2])
    target_turned, known_turned = map_targets(turned(objects), turned(labels), [1, 2])
    assert torch.equal(target_turned, turned(target))
    assert torch.equal(known_turned, turned(known))
    table = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).int() + 1
    table[0] = 0
    assert torch.equal(map_targets(table[objects], labels, [1, 2])[0], target)


def test_without_objects_the_map_is_empty() -> None:
    nothing = torch.zeros(1, 32, 32, dtype=torch.int32)
    target, weights = map_targets(nothing, nothing.long(), [1])
    assert not target.any() and weights.any()
