"""Objects of a slice against one watershed of the whole slice, and hand-made cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label as components_of
from skimage.segmentation import watershed

from fibseg.errors import FibsegError
from fibseg.prediction.instances import common_rules, slice_objects
from tests.support.instances import RULES, random_slices, same_partition, with_head
from tests.support.models import trained


def whole_slice_watershed(mask: np.ndarray, depth: np.ndarray, level: float) -> np.ndarray:
    """Seeds of the whole slice, and a component without any is a seed itself."""
    markers = components_of(mask & (depth > level), connectivity=1)
    for number in np.unique(components_of(mask, connectivity=2))[1:]:
        component = components_of(mask, connectivity=2) == number
        if not markers[component].any():
            markers[component] = markers.max() + 1
    return np.asarray(watershed(-depth, markers, mask=mask, connectivity=2))


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_objects_are_those_of_a_watershed_of_the_whole_slice(seed: int) -> None:
    labels, maps = random_slices(depth=2, seed=seed)
    objects = slice_objects(labels[0], maps[0], [1, 2], 0.7)
    parts = [
        whole_slice_watershed(labels[0] == index, maps[0, row], 0.7)
        for row, index in enumerate((1, 2))
    ]
    expected = np.where(labels[0] == 2, parts[1] + parts[0].max(), parts[0])
    assert same_partition(objects, expected)
    # The seeds part what components do not.
    assert objects.max() > components_of(labels[0], connectivity=2, background=0).max()


def test_numbers_run_from_1_in_the_order_of_first_pixels() -> None:
    labels, maps = random_slices(depth=2, seed=9)
    objects = slice_objects(labels[0], maps[0], [1, 2], 0.7)
    values, first = np.unique(objects, return_index=True)
    assert values.tolist() == list(range(objects.max() + 1))
    assert (np.diff(first[1:]) > 0).all()
    assert ((objects > 0) == (labels[0] > 0)).all()
    # A slice without background has its first object in the corner.
    full = slice_objects(np.ones((4, 4), np.uint8), None, [1], 0.5)
    assert (full == 1).all()


def test_without_a_map_objects_are_components() -> None:
    labels, _ = random_slices(depth=2, seed=3)
    objects = slice_objects(labels[0], None, [1, 2], 0.5)
    assert same_partition(objects, components_of(labels[0], connectivity=2, background=0))
    only = slice_objects(labels[0], None, [2], 0.5)
    assert ((only > 0) == (labels[0] == 2)).all()


def test_two_discs_that_touch_are_two_by_a_map_and_one_without() -> None:
    rows, columns = np.indices((40, 70))
    left = (rows - 20) ** 2 + (columns - 20) ** 2 <= 15**2
    right = (rows - 20) ** 2 + (columns - 48) ** 2 <= 15**2
    labels = (left | right).astype(np.uint8)
    depth = np.maximum(ndimage.distance_transform_edt(left), ndimage.distance_transform_edt(right))
    maps = (depth / 15).clip(0, 1).astype(np.float32)[None]
    assert slice_objects(labels, None, [1], 0.5).max() == 1
    objects = slice_objects(labels, maps, [1], 0.5)
    assert objects.max() == 2
    assert (objects[20, :33] <= 1).all() and (objects[20, 36:] != 1).all()


def test_empty_cases() -> None:
    nothing = np.zeros((5, 6), np.uint8)
    assert not slice_objects(nothing, np.ones((1, 5, 6), np.float32), [1], 0.5).any()
    one = nothing.copy()
    one[2, 3] = 1
    # A head that is nowhere sure leaves the component whole, of one pixel too.
    assert slice_objects(one, np.zeros((1, 5, 6), np.float32), [1], 0.5).sum() == 1


def test_rules_of_models_are_one() -> None:
    model = with_head()
    other = replace(model, objects=replace(RULES, level=0.75, overlap=0.5))
    assert common_rules([model, other]).level == pytest.approx(0.65)
    assert common_rules([model, other]).overlap == pytest.approx(0.4)
    with pytest.raises(FibsegError, match="no class of this model has objects"):
        common_rules([trained([], 1)])
    components = replace(trained([], 1), objects=replace(RULES, head="none"))
    for different in (trained([], 1), components):
        with pytest.raises(FibsegError, match="tell objects apart in other ways"):
            common_rules([model, different])
