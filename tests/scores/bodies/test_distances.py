"""Distances to classes, against a distance transform of the whole stack."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fibseg.scores.bodies.distances import measure_distances
from tests.support.bodies import objects_in

SPACING = (20.0, 5.0, 4.0)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_the_whole_stack(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = np.zeros((14, 30, 33), np.uint8)
    for _ in range(15):
        z, y, x = (rng.integers(0, n - 2) for n in classes.shape)
        classes[z : z + 3, y : y + 4, x : x + 4] = rng.integers(0, 4)
    ids = ndimage.label(classes == 1)[0]
    objects = objects_in(ids, SPACING, read_classes=classes.__getitem__)
    distances = measure_distances(objects, 4, classes.__getitem__)
    numbers = np.stack(list(objects.instances()))
    for index in (2, 3):
        field = ndimage.distance_transform_edt(classes != index, sampling=SPACING)
        nearest = ndimage.minimum(field, numbers, range(1, objects.count + 1))
        np.testing.assert_allclose(distances[:, index - 1], nearest, rtol=1e-5)
    # Its own class, and one that is nowhere.
    assert np.isnan(distances[:, [0, 3]]).all()


def test_two_balls_are_as_far_apart_as_their_surfaces() -> None:
    z, y, x = np.ogrid[:40, :40, :100]
    first, second = ((z - 20) ** 2 + (y - 20) ** 2 + (x - at) ** 2 < 15.5**2 for at in (20, 75))
    classes = (first + 2 * second).astype(np.uint8)
    objects = objects_in(classes.astype(int), (5.0,) * 3, read_classes=classes.__getitem__)
    distances = measure_distances(objects, 2, classes.__getitem__)
    # Centres 55 voxels apart, less 15 on each side, of 5 nm.
    np.testing.assert_allclose(distances, [[np.nan, 125], [125, np.nan]])


def test_things_that_touch_are_a_voxel_apart() -> None:
    classes = np.array([[[1, 1, 2, 2]], [[0, 0, 0, 3]]], np.uint8)
    objects = objects_in(classes.astype(int), SPACING, read_classes=classes.__getitem__)
    distances = measure_distances(objects, 3, classes.__getitem__)
    assert distances[0, 1] == 4 and distances[1, 2] == 20
    assert distances[0, 2] == pytest.approx(np.hypot(20, 8))


def test_what_lies_in_an_object_is_of_its_class() -> None:
    """A wrong label within an object is not the nearest voxel of another class."""
    ids = np.zeros((4, 8, 30), int)
    ids[1:3, 2:6, 2:8] = 7
    classes = np.where(ids > 0, 1, 0).astype(np.uint8)
    classes[1:3, 2:6, 20:24] = 2
    objects = objects_in(ids, (1.0,) * 3, read_classes=classes.__getitem__)
    expected = measure_distances(objects, 2, classes.__getitem__)
    noisy = classes.copy()
    noisy[1, 3, 4] = 2
    result = measure_distances(objects, 2, noisy.__getitem__)
    assert expected[0, 1] == 13
    np.testing.assert_array_equal(result, expected)
