"""Objects of stacks of ids, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops

from tests.support.bodies import FLAT, objects_in
from tests.support.object_ids import blobs

IDS = blobs(np.random.default_rng(1), (9, 24, 20), 0.7)


def test_measures_are_those_of_scikit_image() -> None:
    objects = objects_in(IDS, FLAT)
    regions = {region.label: region for region in regionprops(IDS)}
    numbers = np.stack(list(objects.instances()))
    assert objects.count == len(regions) > 10
    assert numbers.dtype == np.uint32
    for k in range(objects.count):
        (label,) = np.unique(IDS[numbers == k + 1])
        region = regions[int(label)]
        low = np.array(region.bbox[:3])
        high = np.array(region.bbox[3:]) - 1
        measures = objects.measures
        assert measures.voxels[k] == region.num_pixels == (numbers == k + 1).sum()
        np.testing.assert_array_equal(measures.low[k], low)
        np.testing.assert_array_equal(measures.high[k], high)
        np.testing.assert_allclose(measures.centre[k], region.centroid)
        assert measures.border[k] == (min(low) == 0 or any(high == np.array(IDS.shape) - 1))


def test_other_ids_for_the_same_objects_change_nothing() -> None:
    rng = np.random.default_rng(2)
    table = np.concatenate([[0], rng.choice(2**40, IDS.max(), replace=False) + 2**33])
    first = objects_in(IDS)
    second = objects_in(table[IDS])
    for name in ("voxels", "low", "centre", "surface"):
        np.testing.assert_array_equal(getattr(first.measures, name), getattr(second.measures, name))
    np.testing.assert_array_equal(list(first.instances()), list(second.instances()))


def test_ids_above_63_bits_and_negative_ones() -> None:
    ids = np.zeros((2, 3, 3), np.uint64)
    ids[0, 0, 0] = 2**64 - 1
    ids[1, 1, 1] = 2**63
    ids[1, 2, 2] = 5
    objects = objects_in(ids)
    assert objects.count == 3
    assert [int(objects.read(1)[k, k]) for k in (1, 2)] == [2, 3]
    signed = np.zeros((1, 2, 2), np.int64)
    signed[0, 0] = -4, 4
    assert objects_in(signed).measures.voxels.tolist() == [1]


def test_an_id_in_two_far_places_is_one_object() -> None:
    ids = np.zeros((6, 8, 8), np.uint16)
    ids[0, 0, 0] = ids[5, 7, 7] = 9
    measures = objects_in(ids).measures
    assert (measures.voxels[0], measures.low[0].tolist()) == (2, [0, 0, 0])
    assert measures.high[0].tolist() == [5, 7, 7]


def test_the_class_of_most_voxels_and_class_1_without_any() -> None:
    ids = np.array([[[1, 1, 1, 2, 2, 3]]])
    classes = np.array([[[2, 3, 3, 0, 4, 0]]], np.uint8)
    objects = objects_in(ids, read_classes=classes.__getitem__)
    assert objects.measures.class_index.tolist() == [3, 4, 1]


def test_small_objects_are_left_out_and_numbers_have_no_gap() -> None:
    ids = np.array([[[7, 0, 3, 3, 3, 8, 8, 0, 5]]])
    objects = objects_in(ids, smallest=2)
    assert objects.measures.voxels.tolist() == [3, 2]
    assert objects.read(0).tolist() == [[0, 0, 1, 1, 1, 2, 2, 0, 0]]


@pytest.mark.parametrize("smallest", [1, 5])
def test_a_stack_without_an_object(smallest: int) -> None:
    ids = np.zeros((3, 4, 4), np.int32)
    ids[0, 0, 0] = smallest > 1
    objects = objects_in(ids, smallest=smallest)
    assert objects.count == 0
    assert not np.any(list(objects.instances()))
