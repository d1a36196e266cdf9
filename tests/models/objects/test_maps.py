"""Maps of objects against scipy's erosions and distances, one object at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fibseg.arrays import IGNORE
from fibseg.data.labels.instances import UNKNOWN
from fibseg.data.sampling import turned
from fibseg.models.objects.maps import CONTACT_WEIGHT, REACH, RIM, map_targets
from tests.support.instances import random_slices


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects and labels (2, 64, 64): quarters of a slice cut the classes into touching objects."""
    labels, _ = random_slices(depth=2, side=64, seed=seed)
    rows, columns = np.indices((64, 64)) // 20
    objects = np.where(labels > 0, 1 + rows * 4 + columns + 100 * labels, 0)
    return torch.from_numpy(objects.astype(np.int32)), torch.from_numpy(labels).long()


def chessboard(mask: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel that is not in the mask; the patch's rim is none."""
    padded = np.pad(mask, REACH + 2, mode="edge")
    distance = ndimage.distance_transform_cdt(padded, "chessboard")
    inside = slice(REACH + 2, -REACH - 2)
    return np.asarray(distance[inside, inside])


@pytest.mark.parametrize("seed", [0, 5])
def test_maps_are_those_of_one_object_at_a_time(seed: int) -> None:
    objects, labels = example(seed)
    interior, weights = map_targets(objects, labels, [1, 2], "contour")
    signed, far_weights = map_targets(objects, labels, [1, 2], "distance")
    known = weights > 0
    known_far = far_weights > 0
    for n in range(2):
        for row, index in enumerate((1, 2)):
            numbers = np.where(labels[n] == index, objects[n], 0)
            depth = np.zeros(numbers.shape)
            for number in np.unique(numbers)[1:]:
                depth = np.where(numbers == number, chessboard(numbers == number), depth)
            inside = known[n, row].numpy()
            np.testing.assert_array_equal(interior[n, row].numpy()[inside], (depth > RIM)[inside])
            away = -chessboard(numbers == 0)
            distance = np.where(numbers > 0, depth, away).clip(-REACH - 1, REACH + 1) / (REACH + 1)
            far = known_far[n, row].numpy()
            np.testing.assert_allclose(signed[n, row].numpy()[far], (1 + distance)[far] / 2)
    assert interior.any() and known.float().mean() > 0.8


def test_pixels_where_two_objects_meet_count_more() -> None:
    objects, labels = example()
    _, weights = map_targets(objects, labels, [1, 2], "contour")
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
    for head, reach in (("contour", RIM), ("distance", REACH)):
        known = map_targets(objects, labels, [1, 2], head)[1] > 0
        assert not known[0, :, 30 - reach : 31 + reach, 30 - reach : 31 + reach].any()
        assert known[0, 0, 30, 31 + reach]
        assert not known[1, 1][labels[1] == 2].any()
        # The rim of the patch: the border of an object may lie right behind it.
        assert not known[:, :, :reach].any() and known[0, 0, reach, reach]


@pytest.mark.parametrize("head", ["contour", "distance"])
def test_maps_turn_with_the_patch_and_know_no_ids(head: str) -> None:
    objects, labels = example()
    target, known = map_targets(objects, labels, [1, 2], head)
    target_turned, known_turned = map_targets(
        turned(objects, 1, True, False), turned(labels, 1, True, False), [1, 2], head
    )
    assert torch.equal(target_turned, turned(target, 1, True, False))
    assert torch.equal(known_turned, turned(known, 1, True, False))
    table = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).int() + 1
    table[0] = 0
    assert torch.equal(map_targets(table[objects], labels, [1, 2], head)[0], target)


def test_without_objects_the_map_is_empty() -> None:
    nothing = torch.zeros(1, 32, 32, dtype=torch.int32)
    for head in ("contour", "distance"):
        target, known = map_targets(nothing, nothing.long(), [1], head)
        assert not target.any() and known.any()
