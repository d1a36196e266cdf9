"""Objects of label stacks against scikit-image, by hand, and slab by slab against the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.measure import label, marching_cubes, mesh_surface_area, regionprops

from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.objects import find_objects
from tests.support.blobs import blobs

SPACING = (20.0, 5.0, 5.0)
MEASURES = ("class_index", "voxels", "low", "high", "centre", "border", "surface")


def objects_of(
    classes: np.ndarray, depth: int | None = None, smallest: int = 1, fill_holes: bool = False
) -> NumberedObjects:
    return find_objects(
        read=lambda z: classes[z],
        shape=classes.shape,  # type: ignore[arg-type]
        spacing=SPACING,
        smallest=smallest,
        fill_holes=fill_holes,
        depth=depth,
    )


@pytest.mark.parametrize("depth", [1, 2, 5, 16, 17, 100])
@pytest.mark.parametrize("fill_holes", [False, True])
def test_slab_by_slab_is_the_whole_stack(depth: int, fill_holes: bool) -> None:
    for seed in range(3):
        classes = blobs(seed)
        whole = objects_of(classes, fill_holes=fill_holes)
        slabs = objects_of(classes, fill_holes=fill_holes, depth=depth)
        for name in MEASURES:
            np.testing.assert_allclose(
                getattr(slabs.measures, name), getattr(whole.measures, name), err_msg=name
            )
        np.testing.assert_array_equal(list(slabs.instances()), list(whole.instances()))


def test_objects_agree_with_scikit_image() -> None:
    for seed in range(3):
        classes = blobs(seed)
        objects = objects_of(classes, depth=4)
        measures = objects.measures
        regions = regionprops(label(classes, connectivity=3, background=0))
        # By class and first voxel, which no two objects share.
        region_at = {
            (int(classes[tuple(region.coords[0])]), tuple(region.coords[0])): region
            for region in regions
        }
        assert len(regions) == len(measures.voxels) > 10
        numbers = np.stack(list(objects.instances()))
        assert numbers.dtype == np.uint32
        for k, (voxels, index) in enumerate(
            zip(measures.voxels, measures.class_index, strict=True)
        ):
            voxel_positions = np.argwhere(numbers == k + 1)
            region = region_at[int(index), tuple(voxel_positions[0])]
            assert region.area == voxels == len(voxel_positions)
            low = region.bbox[:3]
            high = np.array(region.bbox[3:]) - 1
            assert (measures.low[k] == low).all()
            assert (measures.high[k] == high).all()
            np.testing.assert_allclose(measures.centre[k], region.centroid)
            mask = np.pad(numbers == k + 1, 1).astype(np.float32)
            area = mesh_surface_area(*marching_cubes(mask, 0.5, spacing=SPACING)[:2])
            assert measures.surface[k] == pytest.approx(area, rel=1e-4)
            at_border = min(low) == 0 or (high == np.array(classes.shape) - 1).any()
            assert measures.border[k] == at_border


def test_volume_and_surface_of_a_ball() -> None:
    """A ball of radius 200 nm: the volume to 2 %.

    The mesh follows stairs of 20 nm, so it lies up to a fifth above the true surface.
    """
    z, y, x = np.mgrid[-15:16, -50:51, -50:51]
    ball = ((z * 20) ** 2 + (y * 5) ** 2 + (x * 5) ** 2 <= 200**2).astype(np.uint8)
    measures = objects_of(ball, depth=7).measures
    assert measures.border.tolist() == [False]
    assert measures.voxels[0] * 500 == pytest.approx(4 / 3 * math.pi * 200**3, rel=0.02)
    assert 1.0 < measures.surface[0] / (4 * math.pi * 200**2) < 1.2


def test_diagonal_neighbours_are_one_object_and_other_classes_are_not() -> None:
    classes = np.zeros((3, 4, 4), np.uint8)
    classes[0, 0, 0] = 1
    classes[1, 1, 1] = 1
    classes[2, 2, 2] = 2
    for depth in (1, 3):
        measures = objects_of(classes, depth).measures
        assert measures.voxels.tolist() == [2, 1]
        assert measures.class_index.tolist() == [1, 2]
        assert measures.border.tolist() == [True, True]


def test_smallest_objects_and_holes() -> None:
    classes = np.zeros((9, 12, 30), np.uint8)
    # A block of class 1 with a hole of 27 voxels.
    classes[1:8, 2:9, 2:9] = 1
    classes[3:6, 4:7, 4:7] = 0
    # Another one, whose hole touches both classes.
    classes[1:8, 2:9, 12:19] = 1
    classes[3:6, 4:7, 14:17] = 0
    classes[4, 5, 15] = 2
    # A block of class 2 whose cavity of 3 voxels is open to the outside.
    classes[2:7, 3:8, 22:27] = 2
    classes[4, 5, 22:25] = 0
    classes[0, 0, 0] = 2
    for depth in (1, 4, 9):
        plain = objects_of(classes, depth).measures
        filled = objects_of(classes, depth, fill_holes=True).measures
        assert plain.voxels.tolist() == [1, 343 - 27, 343 - 27, 125 - 3, 1]
        assert filled.voxels.tolist() == [1, 343, 343 - 27, 125 - 3, 1]
        large = objects_of(classes, depth, smallest=100)
        assert large.measures.voxels.tolist() == [316, 316, 122]
        assert np.unique(np.stack(list(large.instances()))).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_stack_of_background_has_no_object(depth: int) -> None:
    objects = objects_of(np.zeros((3, 4, 5), np.uint8), depth, fill_holes=True)
    assert len(objects.measures.voxels) == 0
    assert not np.any(list(objects.instances()))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_full_stack_is_one_object_at_the_border(depth: int) -> None:
    measures = objects_of(np.ones((3, 4, 5), np.uint8), depth, fill_holes=True).measures
    assert measures.voxels.tolist() == [60]
    assert measures.border.tolist() == [True]
    assert measures.surface[0] > 0
