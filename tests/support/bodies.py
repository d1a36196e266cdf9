"""Bodies of known shape as masks, in voxels of any size, and measures of two objects."""

from __future__ import annotations

import numpy as np

from fibseg.scores.bodies.ids import find_ids
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.measures import ObjectMeasures

Spacing = tuple[float, float, float]
CUBES: Spacing = (5.0, 5.0, 5.0)
FLAT: Spacing = (20.0, 5.0, 5.0)

SPACING: Spacing = (20.0, 5.0, 4.0)
TWO_OBJECTS = ObjectMeasures(
    class_index=np.array([2, 2]),
    voxels=np.array([8, 2]),
    low=np.array([[1, 2, 3], [0, 0, 0]]),
    high=np.array([[2, 3, 4], [1, 0, 0]]),
    centre=np.array([[1.5, 2.5, 3.5], [0.5, 0.0, 0.0]]),
    surface=np.array([3e6, 1e6]),
    border=np.array([False, True]),
)
"""Two objects of class 2, measured in voxels of SPACING."""


def positions(side: float, spacing: Spacing) -> list[np.ndarray]:
    """z, y and x in nm of the voxels of a cube of this side, about its middle but not symmetric."""
    axes = [(np.arange(int(side / s)) - int(side / s) / 2 + 0.37) * s for s in spacing]
    return np.meshgrid(*axes, indexing="ij")


def ball(radius: float, spacing: Spacing, side: float | None = None) -> np.ndarray:
    z, y, x = positions(side or 2 * radius + 6 * max(spacing), spacing)
    return z**2 + y**2 + x**2 < radius**2


def along(places: list[np.ndarray], direction: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Position along a line through the middle, and squared distance to the line."""
    unit = np.array(direction) / np.linalg.norm(direction)
    position = sum(p * u for p, u in zip(places, unit, strict=True))
    return position, sum(p**2 for p in places) - position**2


def capsule(
    length: float, radius: float, spacing: Spacing, direction: tuple[float, ...]
) -> np.ndarray:
    """A cylinder of this length between two half balls."""
    position, squared = along(positions(length + 3 * radius, spacing), direction)
    return squared + np.maximum(np.abs(position) - length / 2, 0) ** 2 < radius**2


def cylinder(
    length: float, radius: float, spacing: Spacing, direction: tuple[float, ...]
) -> np.ndarray:
    position, squared = along(positions(length + 3 * radius, spacing), direction)
    return (squared < radius**2) & (np.abs(position) < length / 2)


def torus(large: float, small: float, spacing: Spacing) -> np.ndarray:
    z, y, x = positions(2 * (large + small) + 6 * max(spacing), spacing)
    return (np.hypot(y, x) - large) ** 2 + z**2 < small**2


def objects_in(ids: np.ndarray, spacing: Spacing = CUBES, **options: object) -> NumberedObjects:
    """The objects of a stack of ids in memory."""
    return find_ids(ids.__getitem__, ids.shape, spacing, **options)
