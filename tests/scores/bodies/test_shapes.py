"""Surface, sphericity, elongation and contact of bodies of known value, and of random ones."""

from __future__ import annotations

import numpy as np
import pytest

from fibseg.scores.bodies.shapes import ObjectShapes, measure_shapes
from tests.support.bodies import CUBES, FLAT, Spacing, ball, cylinder, objects_in, positions
from tests.support.object_ids import blobs

BOTH = pytest.mark.parametrize("spacing", [CUBES, FLAT])


def shapes_of(
    ids: np.ndarray, spacing: Spacing, classes: np.ndarray | None = None, count: int = 1
) -> tuple[ObjectShapes, np.ndarray]:
    """Shapes of objects, and their volumes in nm^3."""
    read = None if classes is None else classes.__getitem__
    objects = objects_in(ids, spacing, read_classes=read)
    return measure_shapes(objects, count, read), objects.measures.voxels * np.prod(spacing)


@BOTH
@pytest.mark.parametrize("radius", [100.0, 200.0])
def test_a_ball(radius: float, spacing: Spacing) -> None:
    shapes, volume = shapes_of(ball(radius, spacing).astype(int), spacing)
    assert volume[0] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert shapes.surface[0] == pytest.approx(4 * np.pi * radius**2, rel=0.01)
    assert shapes.sphericity(volume)[0] == pytest.approx(1, abs=0.01)
    assert shapes.elongation[0] == pytest.approx(1, abs=0.03)
    # The second moment of a ball is r^2 / 5 along each axis.
    np.testing.assert_allclose(shapes.axes[0], radius / 5**0.5, rtol=0.03)


# Faces along an axis come out too small: by up to 7 % for cubes, and 20 % for flat voxels.
@pytest.mark.parametrize(("spacing", "error"), [(CUBES, 0.06), (FLAT, 0.1)])
@pytest.mark.parametrize("direction", [(0, 0, 1), (0, 1, 1), (1, 2, 3)])
def test_a_cylinder(direction: tuple[int, int, int], spacing: Spacing, error: float) -> None:
    length = 400.0
    radius = 60.0
    shapes, volume = shapes_of(cylinder(length, radius, spacing, direction).astype(int), spacing)
    surface = 2 * np.pi * radius * (radius + length)
    assert shapes.surface[0] == pytest.approx(surface, rel=error)
    expected = np.cbrt(36 * np.pi * (np.pi * radius**2 * length) ** 2) / surface
    assert shapes.sphericity(volume)[0] == pytest.approx(expected, rel=error)
    # Moments are length^2 / 12 along the axis and radius^2 / 4 across it.
    assert shapes.elongation[0] == pytest.approx(length / (radius * 3**0.5), rel=0.02)


@pytest.mark.parametrize(("spacing", "error"), [(CUBES, 0.08), (FLAT, 0.14)])
def test_two_balls_that_touch_share_the_disc_between_them(spacing: Spacing, error: float) -> None:
    z, y, x = positions(520.0, spacing)
    first, second = ((x - at) ** 2 + y**2 + z**2 < 120**2 for at in (-90, 90))
    ids = np.where(first | second, np.where(x < 0, 4, 7), 0)
    shapes, _ = shapes_of(ids, spacing)
    disc = np.pi * (120**2 - 90**2)
    np.testing.assert_allclose(shapes.contact[:, 0], disc, rtol=error)
    # A cap of height 30 is cut off, and the disc closes the ball.
    surface = 4 * np.pi * 120**2 - 2 * np.pi * 120 * 30 + disc
    np.testing.assert_allclose(shapes.surface, surface, rtol=0.04)


def test_what_is_enclosed_is_in_contact_everywhere() -> None:
    inner = ball(80.0, FLAT, side=400.0)
    outer = ball(160.0, FLAT, side=400.0)
    classes = np.where(inner, 1, np.where(outer, 2, 0)).astype(np.uint8)
    shapes, _ = shapes_of(classes.astype(int), FLAT, classes, 3)
    inside, shell = np.argsort(shapes.surface)
    np.testing.assert_allclose(shapes.contact[inside], [0, shapes.surface[inside], 0])
    assert shapes.contact[shell, 0] == pytest.approx(shapes.surface[inside])
    # The shell has both surfaces.
    assert shapes.surface[shell] == pytest.approx(4 * np.pi * (160**2 + 80**2), rel=0.01)


@BOTH
def test_random_objects_against_lines_counted_one_by_one(spacing: Spacing) -> None:
    """Directions are weighed by random points of the sphere, each nearest to one of them."""
    rng = np.random.default_rng(3)
    ids = blobs(rng, (6, 14, 12), 0.6)
    classes = np.zeros(ids.shape, np.uint8)
    class_of = rng.integers(1, 3, ids.max() + 1)
    classes[ids > 0] = class_of[ids[ids > 0]]
    # A class without objects of its own beside them.
    classes[(ids == 0) & (rng.random(ids.shape) < 0.2)] = 3
    shapes, _ = shapes_of(ids, spacing, classes, 3)
    objects = objects_in(ids, spacing)
    numbers = np.pad(np.stack(list(objects.instances())).astype(int), 1)
    kinds = np.pad(classes, 1)
    steps = np.array([s for s in np.ndindex(3, 3, 3) if s > (1, 1, 1)]) - 1
    units = steps * spacing / np.linalg.norm(steps * spacing, axis=1)[:, None]
    points = rng.normal(size=(200_000, 3))
    shares = np.bincount(np.abs(points @ units.T).argmax(axis=1)) / len(points)
    surface = np.zeros(objects.count)
    contact = np.zeros((objects.count, 3))
    for step, share in zip(steps, shares, strict=True):
        area = np.prod(spacing) / np.linalg.norm(step * spacing)
        for sign in (1, -1):
            beside = np.roll(numbers, sign * step, (0, 1, 2))
            beside_kinds = np.roll(kinds, sign * step, (0, 1, 2))
            for k in range(objects.count):
                change = (numbers == k + 1) & (beside != k + 1)
                surface[k] += 2 * share * area * change.sum()
                for c in range(3):
                    contact[k, c] += 2 * share * area * (change & (beside_kinds == c + 1)).sum()
    np.testing.assert_allclose(shapes.surface, surface, rtol=0.02)
    np.testing.assert_allclose(shapes.contact, contact, rtol=0.05, atol=0.01 * surface.max())


def test_a_single_voxel_and_objects_of_one_slice() -> None:
    ids = np.zeros((3, 9, 9), np.int64)
    ids[1, 4, 4] = 1
    ids[0, 1:8, 1:3] = 2
    shapes, _ = shapes_of(ids, CUBES)
    pixel = int(np.argmin(shapes.surface))
    assert shapes.elongation[pixel] == pytest.approx(1)
    plate = 1 - pixel
    # 7 by 2 by 1 voxels: a box has the moments side^2 / 12.
    np.testing.assert_allclose(shapes.axes[plate], np.array([7, 2, 1]) * 5 / 12**0.5)
    assert np.isfinite(shapes.surface).all()
