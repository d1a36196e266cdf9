"""Objects divided at necks: dumb-bells whose neck is known, in memory and over a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label

from fibseg.scores.bodies.boxes import object_masks
from fibseg.scores.bodies.necks import split_at_necks
from fibseg.scores.bodies.splitting import split_objects
from fibseg.scores.objects import find_objects
from tests.support.bodies import objects_in
from tests.support.instances import same_partition
from tests.support.object_ids import blobs

UNIT = (1.0, 1.0, 1.0)


def chain(*places: int, radius: int = 16, spread: int = 1) -> np.ndarray:
    """Balls at these places of a line; the slices may be `spread` times as thick."""
    z, y, x = np.ogrid[: 48 // spread, :48, : max(places) + 24]
    masks = ((spread * z - 24) ** 2 + (y - 24) ** 2 + (x - at) ** 2 < radius**2 for at in places)
    return np.logical_or.reduce(
        [np.broadcast_to(mask, (48 // spread, 48, x.size)) for mask in masks]
    )


@pytest.mark.parametrize(
    ("distance", "share", "parts"),
    [
        # The circle between the balls has the radius sqrt(16^2 - (distance / 2)^2) = 16 * neck.
        (20, 0.5, 1),  # neck .78
        (20, 0.9, 2),
        (28, 0.3, 1),  # neck .48
        (28, 0.6, 2),
        (30, 0.6, 2),  # neck .35
    ],
)
def test_two_balls_are_divided_by_the_share_of_their_neck(
    distance: int, share: float, parts: int
) -> None:
    mask = chain(24, 24 + distance)
    divided = split_at_necks(mask, UNIT, share)
    assert divided.max() == parts
    np.testing.assert_array_equal(divided > 0, mask)
    if parts == 2:
        # Each on its side of the middle.
        middle = 24 + distance // 2
        assert len(np.unique(divided[:, :, : middle - 1])) == 2
        assert len(np.unique(divided[:, :, middle + 2 :])) == 2


def test_three_balls_of_flat_voxels() -> None:
    mask = chain(24, 53, 82, spread=4)
    assert split_at_necks(mask, (4.0, 1.0, 1.0), 0.6).max() == 3


def test_a_small_ball_at_a_large_one_is_measured_by_itself() -> None:
    """The circle between them has a radius of 5.5: .69 of the smaller ball's."""
    z, y, x = np.ogrid[:48, :48, :60]
    mask = ((z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 < 20**2) | (
        (z - 24) ** 2 + (y - 24) ** 2 + (x - 49) ** 2 < 8**2
    )
    assert split_at_necks(mask, UNIT, 0.5).max() == 1
    assert split_at_necks(mask, UNIT, 0.85).max() == 2


def test_masks_come_one_by_one_in_their_boxes() -> None:
    ids = blobs(np.random.default_rng(4), (8, 20, 20), 0.6)
    objects = objects_in(ids)
    numbers = np.stack(list(objects.instances()))
    rebuilt = np.zeros_like(numbers)
    for entry in object_masks(objects):
        place = tuple(
            slice(low, low + n) for low, n in zip(entry.low, entry.mask.shape, strict=True)
        )
        rebuilt[place][entry.mask] += entry.number
        assert entry.mask.any(axis=(1, 2))[[0, -1]].all()
    np.testing.assert_array_equal(rebuilt, numbers)
    sizes = np.prod(objects.measures.high - objects.measures.low + 1, axis=1)
    limit = int(np.median(sizes))
    assert len(list(object_masks(objects, limit))) == (sizes <= limit).sum() < objects.count


def test_objects_of_a_stack_are_divided_and_nothing_is_left_behind(tmp_path: Path) -> None:
    classes = chain(24, 52).astype(np.uint8)
    classes[:3, :3, :3] = 2
    objects = find_objects(classes.__getitem__, classes.shape, UNIT, depth=5)
    read = split_objects(objects, 0.6, tmp_path)
    parts = np.stack([read(z) for z in range(len(classes))])
    expected = split_at_necks(classes == 1, UNIT, 0.6)
    expected[:3, :3, :3] = 3
    assert same_partition(parts, expected)
    assert list(tmp_path.iterdir()) == []
    # Too large a box: as a whole.
    whole = split_objects(objects, 0.6, tmp_path, largest=1000)
    stack = np.stack([whole(z) for z in range(len(classes))])
    assert same_partition(stack, label(classes, connectivity=3))
