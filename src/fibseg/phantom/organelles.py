"""Where the organelles of a cell lie, and the small objects that are background; never a result.

Every organelle is a cloud of points with one radius: a voxel belongs to it when its nearest point
is closer than the radius. Bent capsules (mitochondria, ER tubules), sheets (ER) and balls
(vesicles, lysosomes, lipid droplets, which are background) are clouds alike. All lengths are in
pixels of the slice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from fibseg.arrays import Floats
from fibseg.phantom.scene import BACKGROUND, ER, MITOCHONDRION, Z_STEP, Cell

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

_UNLABELLED = {
    "vesicle": ((3.4, 5.0), 3.0e4, ((0.0, 1.0, 2.2, 3.2), (120.0, 84.0, 130.0, 180.0))),
    "lysosome": ((4.0, 7.5), 1.6e5, ((0.0, 1.5, 4.0), (110.0, 74.0, 92.0))),
    "droplet": ((4.0, 8.0), 2.4e5, ((0.0, 1.0, 2.0), (128.0, 104.0, 128.0))),
}
"""Object of the background -> least and largest radius, cubic pixels per object, grey levels."""


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
    """

    points: Floats
    radius: float
    label: int
    profile: Profile
    lamella: Floats
    phase: float


def organelles_of(cell: Cell, depth: int, rng: Generator) -> list[Organelle]:
    """Place the organelles of a cell in a stack of `depth` slices.

    A mitochondrion and an ER sheet cross all slices on opposite sides, so that every slice has
    every class; the others lie where there is room.
    """
    # A slice more at both ends, so that what crosses the stack does not end in its outer slices.
    heights = (-Z_STEP, depth * Z_STEP)
    organelles = _crossing_organelles(cell, heights, rng)
    # In units of the organelles, which shrink with the cell: a small cell holds as many.
    volume = np.pi * cell.axes[0] * cell.axes[1] * depth * Z_STEP / cell.scale**3
    _add_tubes(organelles=organelles, cell=cell, heights=heights, volume=volume, rng=rng)
    for _ in range(int(volume / 5e5)):
        # Some sheets begin before the stack or end behind it.
        low = rng.uniform(heights[0] - 40.0, heights[1] - 20.0)
        width = cell.scale * rng.uniform(30.0, 90.0)
        where = (rng.uniform(0.25, 0.8), rng.uniform(0.0, 2.0 * np.pi))
        organelles.append(
            _sheet(
                cell=cell,
                heights=(low, low + 60.0),
                where=where,
                width=width,
                radius=_er_radius(cell),
                label=ER,
                rng=rng,
            )
        )
    # Drawn in this order, the ER goes round the mitochondria.
    organelles.sort(key=lambda organelle: organelle.label)
    return organelles + _unlabelled_objects(cell, heights, organelles, rng)


def _mitochondrion_radius(cell: Cell) -> float:
    """Give the radius of a mitochondrion in pixels: 75 nm in a full-sized cell."""
    return 15.0 * cell.scale


def _er_radius(cell: Cell) -> float:
    """Give the radius of an ER tubule, or half the thickness of a sheet, in pixels."""
    # Thinner ER would have no lumen between its two membranes.
    return max(2.4, 3.0 * cell.scale)


def _crossing_organelles(cell: Cell, heights: _Pair, rng: Generator) -> list[Organelle]:
    """Lay a mitochondrion and an ER sheet through all slices, on opposite sides of the cell."""
    # At the ends of the long axis, where there is most room.
    side = cell.turn + rng.choice([0.0, np.pi]) + rng.uniform(-0.2, 0.2)
    mitochondrion = _sheet(
        cell=cell,
        heights=heights,
        where=(0.5, side),
        width=24.0 * cell.scale,
        radius=_mitochondrion_radius(cell),
        label=MITOCHONDRION,
        rng=rng,
    )
    er = _sheet(
        cell=cell,
        heights=heights,
        where=(0.55, side + np.pi),
        width=70.0 * cell.scale,
        radius=_er_radius(cell),
        label=ER,
        rng=rng,
    )
    return [mitochondrion, er]


def _add_tubes(
    organelles: list[Organelle], cell: Cell, heights: _Pair, volume: float, rng: Generator
) -> None:
    """Add mitochondria and ER tubules where they find room; most mitochondria find none."""
    for attempts, longest, radius, label in (
        (volume / 6e3, 75.0, _mitochondrion_radius(cell), MITOCHONDRION),
        (volume / 9e4, 90.0, _er_radius(cell), ER),
    ):
        for _ in range(int(attempts)):
            low = (0.0, 0.0, 0.0)
            high = (heights[1] - Z_STEP, 2.0 * np.pi, 0.8)
            z, theta, area = rng.uniform(low, high)[:, None]
            length = longest * cell.scale * rng.uniform(0.3, 1.0)
            tube = _tube(
                # The root of a uniform number: points are as dense outside as at the centre.
                start=cell.point(np.sqrt(area), theta, z),
                length=length,
                radius=radius * rng.uniform(0.8, 1.2),
                label=label,
                rng=rng,
            )
            if _fits(tube, cell, organelles):
                organelles.append(tube)


def _unlabelled_objects(
    cell: Cell, heights: _Pair, organelles: list[Organelle], rng: Generator
) -> list[Organelle]:
    """Place small balls that are background between the organelles."""
    volume = np.pi * cell.axes[0] * cell.axes[1] * (heights[1] - heights[0]) / cell.scale**3
    balls: list[Organelle] = []
    for radii, volume_each, profile in _UNLABELLED.values():
        for _ in range(round(volume / volume_each)):
            low = (heights[0], 0.0, 0.0)
            high = (heights[1], 2.0 * np.pi, 0.9)
            z, theta, area = rng.uniform(low, high)[:, None]
            ball = Organelle(
                points=cell.point(np.sqrt(area), theta, z).astype(np.float32),
                radius=max(2.0, cell.scale * rng.uniform(*radii)),
                label=BACKGROUND,
                profile=profile,
                lamella=np.zeros(3, np.float32),
                phase=0.0,
            )
            # Balls keep off each other as well.
            if _fits(ball, cell, organelles + balls):
                balls.append(ball)
    return balls


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


def _tube(start: Floats, length: float, radius: float, label: int, rng: Generator) -> Organelle:
    """Bend a capsule around `start` (1, 3)."""
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


def _sheet(
    cell: Cell,
    heights: _Pair,
    where: _Pair,
    width: float,
    radius: float,
    label: int,
    rng: Generator,
) -> Organelle:
    """Lay a wavy sheet between two heights at `where` (fraction, angle), along the outline."""
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


def _fits(new: Organelle, cell: Cell, organelles: list[Organelle]) -> bool:
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
