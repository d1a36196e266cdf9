"""Areas of the cubes of marching cubes, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fibseg.scores.surfaces import add_surfaces, cube_areas


def test_a_plane_and_a_corner() -> None:
    areas = cube_areas((20.0, 5.0, 4.0))
    assert areas.shape == (256,)
    # No surface without a corner inside, nor without one outside.
    assert areas[0] == areas[255] == 0
    # The corners of the first slice are bits 0 to 3: a plane of 5 x 4 nm.
    assert areas[0b00001111] == pytest.approx(5 * 4)
    # One corner is cut off by a triangle through the middles of its three sides.
    sides = np.diag([10.0, 2.5, 2.0])
    triangle = np.linalg.norm(np.cross(sides[1] - sides[0], sides[2] - sides[0])) / 2
    assert areas[0b00000001] == pytest.approx(triangle, rel=1e-5)


def test_inside_and_outside_may_be_exchanged_where_one_corner_differs() -> None:
    areas = cube_areas((1.0, 1.0, 1.0))
    for corner in range(8):
        assert areas[1 << corner] == pytest.approx(math.sqrt(3) / 8, rel=1e-5)
        assert areas[255 - (1 << corner)] == pytest.approx(areas[1 << corner])


def test_each_object_of_a_cube_gets_its_own_area() -> None:
    areas = cube_areas((1.0, 1.0, 1.0))
    pair = np.array([[[1, 1], [1, 1]], [[2, 2], [2, 2]]], np.int64)
    surface = np.zeros(3)
    add_surfaces(surface, pair, areas)
    assert surface == pytest.approx([0, 1, 1])
