"""Organelles of the phantom as clouds of points, and whether there is room for them.

Every organelle is a cloud of points with one radius: a voxel belongs to it when its nearest point
is closer than the radius. Bent capsules and sheets are clouds alike. All lengths are in pixels of
the slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from fibseg.arrays import Floats
from fibseg.phantom.scene import ER, MITOCHONDRION, Cell

_Pair = tuple[float, float]

Profile = tuple[tuple[float, ...], tuple[float, ...]]
"""Depths below the surface in pixels, and the grey level at each."""

GAP = 2.0
"""Pixels of cytoplasm between two organelles."""

_POINT_DISTANCE = 0.9
"""Distance of a cloud's points, over the root of its radius.

Points at distance d leave dents of d**2 / (8 radius) pixels in the surface: a tenth of a pixel.
"""

_PROFILES = {
    MITOCHONDRION: ((0.0, 1.4, 2.2, 3.2, 4.6), (82.0, 64.0, 92.0, 72.0, 132.0)),
    ER: ((0.0, 0.8, 1.5, 2.2), (104.0, 72.0, 110.0, 225.0)),
}
"""Label -> grey levels of its organelles."""


@dataclass(frozen=True)
class Organelle:
    """A cloud of points with one radius.

    Attributes:
        points: (N, 3) float32, z, y and x in pixels.
        radius: in pixels.
        label: value that its voxels get.
        profile: its grey levels.
        lamella: (3,), normal of the cristae: z, y, x.
        phase: phase of the cristae in radians.
        touched: an organelle placed before, up to whose surface this one reaches.
    """

    points: Floats
    radius: float
    label: int
    profile: Profile
    lamella: Floats
    phase: float
    touched: Organelle | None = None


def _with_cristae(points: Floats, radius: float, label: int, rng: Generator) -> Organelle:
    """Make an organelle whose cristae lie across the long axis of its cloud in the slice."""
    # The last eigenvector of the covariance is the direction in which the cloud is longest.
    along = np.linalg.eigh(np.cov(points[:, 1:].T))[1][:, 1]
    lamella = np.array([rng.uniform(-0.15, 0.15), along[0], along[1]], np.float32)
    return Organelle(
        points=points.astype(np.float32),
        radius=radius,
        label=label,
        profile=_PROFILES[label],
        lamella=lamella,
        phase=rng.uniform(0.0, 2.0 * np.pi),
    )


def bent_tube(start: Floats, length: float, radius: float, label: int, rng: Generator) -> Organelle:
    """Bend a capsule.

    Args:
        start: (1, 3) z, y, x of its middle, in pixels like all lengths.
        length: of its middle line.
        radius: of the capsule.
        label: value that its voxels get.
        rng: drawn from.
    """
    # Two at least, since the direction of a single point is undefined.
    count = max(2, round(length / (_POINT_DISTANCE * radius**0.5)))
    way = np.linspace(-0.5, 0.5, count)
    # A bend over the whole length, and a wave on it.
    heading = (
        rng.uniform(0.0, 2.0 * np.pi)
        + rng.uniform(-1.8, 1.8) * way
        + 0.4 * np.sin(9.0 * way + rng.uniform(0, 6))
    )
    tilt = rng.uniform(-0.6, 0.6)
    directions = [np.full(count, np.tan(tilt)), np.sin(heading), np.cos(heading)]
    course = np.stack(directions, axis=1) * np.cos(tilt)
    line = np.cumsum(course, axis=0) * length / count
    return _with_cristae(start + line - line.mean(axis=0), radius, label, rng)


def wavy_sheet(
    cell: Cell,
    heights: _Pair,
    where: _Pair,
    width: float,
    radius: float,
    label: int,
    rng: Generator,
) -> Organelle:
    """Lay a wavy sheet along the outline of a cell.

    Args:
        cell: in which it lies.
        heights: of its lower and upper end, in pixels like all lengths.
        where: part of the way from the centre of the cell to its outline, and angle in radians.
        width: along the outline.
        radius: half its thickness.
        label: value that its voxels get.
        rng: drawn from.
    """
    fraction, angle = where
    distance = _POINT_DISTANCE * radius**0.5
    # z is (rows, 1) and along is (columns,): the waves below are (rows, columns).
    z = np.arange(*heights, distance)[:, None]
    along = np.linspace(-0.5, 0.5, max(2, round(width / distance)))
    stretch = 1.0 + 0.25 * np.sin(z / 23.0 + rng.uniform(0.0, 6.0))
    # The wave moves with z, so that the section of a sheet changes from slice to slice.
    theta = (
        angle
        + along * stretch * width / (fraction * cell.axes[1])
        + 0.15 * np.sin(z / 35.0 + rng.uniform(0.0, 6.0))
    )
    wave = 0.05 * np.sin(5.0 * theta + z / 30.0 + rng.uniform(0.0, 6.0))
    return _with_cristae(cell.point(fraction + wave, theta, z), radius, label, rng)


def fits(new: Organelle, cell: Cell, organelles: list[Organelle]) -> bool:
    """Whether a new organelle lies inside the cell, clear of those that are there."""
    y = new.points[:, 1] - cell.centre[0]
    x = new.points[:, 2] - cell.centre[1]
    # Within the membrane, whose thickness the outline includes.
    inner = cell.outline(np.arctan2(y, x), new.points[:, 0]) - cell.membrane - GAP
    if np.any(np.hypot(y, x) + new.radius > inner):
        return False
    low = new.points.min(axis=0)
    high = new.points.max(axis=0)
    for old in organelles:
        distance = new.radius + old.radius + GAP
        # Only points near the box of the new cloud, or all pairs of points would take minutes.
        inside = (old.points > low - distance) & (old.points < high + distance)
        near = old.points[np.all(inside, axis=1)]
        if np.any(np.sum((new.points[:, None] - near) ** 2, axis=2) < distance**2):
            return False
    return True
