"""Skeletons of bodies of known length, and that thinning keeps the topology of random ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number, label

from fibseg.scores.bodies.skeletons import measure_skeleton
from fibseg.scores.bodies.thinning import thin_mask
from tests.support.bodies import CUBES, FLAT, Spacing, ball, capsule, positions, torus

BOTH = pytest.mark.parametrize("spacing", [CUBES, FLAT])


@BOTH
@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 0, 0), (0, 1, 1), (1, 2, 3)])
def test_a_capsule_has_one_branch_of_its_length(
    direction: tuple[int, int, int], spacing: Spacing
) -> None:
    skeleton = measure_skeleton(capsule(320.0, 40.0, spacing, direction), spacing)
    assert skeleton.branches == 1
    assert skeleton.length == pytest.approx(320, rel=0.08)


@BOTH
def test_a_torus_is_a_ring_of_one_branch(spacing: Spacing) -> None:
    skeleton = measure_skeleton(torus(180.0, 40.0, spacing), spacing)
    assert skeleton.branches == 1
    assert skeleton.length == pytest.approx(2 * np.pi * 180, rel=0.02)


@BOTH
def test_a_rough_surface_makes_no_branches(spacing: Spacing) -> None:
    """As of labels that were painted slice by slice: each slice is moved by up to two pixels."""
    rng = np.random.default_rng(0)
    mask = capsule(320.0, 60.0, spacing, (1, 1, 1))
    rough = np.stack([np.roll(page, rng.integers(-2, 3, 2), (0, 1)) for page in mask])
    skeleton = measure_skeleton(rough, spacing)
    assert skeleton.branches == 1
    assert skeleton.length == pytest.approx(320, rel=0.15)


def test_a_string_between_two_balls_is_not_smoothed_away() -> None:
    z, y, x = positions(700.0, CUBES)
    balls = [z**2 + y**2 + (x - at) ** 2 < 80**2 for at in (-200, 200)]
    string = (z**2 + y**2 < 12**2) & (np.abs(x) < 200)
    skeleton = measure_skeleton(balls[0] | balls[1] | string, CUBES)
    assert skeleton.branches == 1
    assert skeleton.length == pytest.approx(400, rel=0.1)


@BOTH
def test_three_arms_are_three_branches(spacing: Spacing) -> None:
    z, y, x = positions(520.0, spacing)
    mask = np.zeros(z.shape, bool)
    for angle in np.radians([90, 210, 330]):
        along = np.clip(y * np.sin(angle) + x * np.cos(angle), 0, 200)
        mask |= z**2 + (y - along * np.sin(angle)) ** 2 + (x - along * np.cos(angle)) ** 2 < 30**2
    skeleton = measure_skeleton(mask, spacing)
    assert skeleton.branches == 3
    assert skeleton.length == pytest.approx(600, rel=0.04)


def test_a_ball_and_a_voxel_have_next_to_no_length() -> None:
    assert measure_skeleton(ball(100.0, CUBES), CUBES).length < 15
    voxel = measure_skeleton(np.ones((1, 1, 1), bool), FLAT)
    assert (voxel.length, voxel.branches) == (0.0, 0)


def test_a_line_of_voxels() -> None:
    skeleton = measure_skeleton(np.ones((1, 1, 9), bool), CUBES)
    assert (skeleton.length, skeleton.branches) == (40.0, 1)


@pytest.mark.parametrize("thickness", [2, 3, 4, 10])
def test_a_rod_of_even_thickness_is_not_erased(thickness: int) -> None:
    """scikit-image's thinning erases some."""
    skeleton = measure_skeleton(np.ones((thickness, thickness, 80), bool), (1.0, 1.0, 1.0))
    assert skeleton.branches == 1
    # Into corners at both ends at most.
    assert 79 - thickness <= skeleton.length <= 80 + thickness


@pytest.mark.parametrize("seed", range(6))
def test_thinning_keeps_components_tunnels_and_cavities(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(18, 20, 22))
    mask = np.pad(ndimage.gaussian_filter(noise, 1.2) > 0, 1)
    lines = thin_mask(mask, ndimage.distance_transform_edt(mask))
    assert 0 < lines.sum() < mask.sum() / 3
    assert not np.any(lines & ~mask)
    assert euler_number(lines, 3) == euler_number(mask, 3)
    assert label(lines, connectivity=3).max() == label(mask, connectivity=3).max()
    assert label(~lines, connectivity=1).max() == label(~mask, connectivity=1).max()
