"""Where the organelles of a cell lie, and the small objects that are background; never a result.

Mitochondria and ER tubules are bent capsules, ER also comes in sheets; vesicles, lysosomes and
lipid droplets are balls, which are background. All lengths are in pixels of the slice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from fibseg.phantom.clouds import Organelle, bent_tube, fits, wavy_sheet
from fibseg.phantom.scene import BACKGROUND, ER, MITOCHONDRION, Z_STEP, Cell

_Pair = tuple[float, float]

_UNLABELLED = {
    "vesicle": ((3.4, 5.0), 3.0e4, ((0.0, 1.0, 2.2, 3.2), (120.0, 84.0, 130.0, 180.0))),
    "lysosome": ((4.0, 7.5), 1.6e5, ((0.0, 1.5, 4.0), (110.0, 74.0, 92.0))),
    "droplet": ((4.0, 8.0), 2.4e5, ((0.0, 1.0, 2.0), (128.0, 104.0, 128.0))),
}
"""Object of the background -> least and largest radius, cubic pixels per object, grey levels."""


_OVERLAP = (0.65, 0.85)
"""Distance of the middle lines of two touching mitochondria, over the sum of their radii."""

_TOUCHING_SIZES = (0.4, 0.75)
"""Least and largest size of the mitochondria of a pair, over the size of the others."""

_PAIR_ATTEMPTS = 1000
"""Tries to find room for a pair, most of which fail."""

_LONGEST = 75.0
"""Longest mitochondrion in pixels, in a full-sized cell."""


def organelles_of(cell: Cell, depth: int, rng: Generator, touching: int = 0) -> list[Organelle]:
    """Place the organelles of a cell in a stack of `depth` slices.

    A mitochondrion and an ER sheet cross all slices on opposite sides, so that every slice has
    every class; the others lie where there is room. `touching` mitochondria touch another one each;
    there are fewer where the cell has no room for them.
    """
    # A slice more at both ends, so that what crosses the stack does not end in its outer slices.
    heights = (-Z_STEP, depth * Z_STEP)
    organelles = _crossing_organelles(cell, heights, rng)
    # Before the others, which fill the cell.
    for _ in range(touching):
        more = _touching_mitochondria(organelles, cell, heights, rng)
        # A full cell: to look for room again takes as long, and finds as little.
        if not more:
            break
        organelles += more
    # In units of the organelles, which shrink with the cell: a small cell holds as many.
    volume = np.pi * cell.axes[0] * cell.axes[1] * depth * Z_STEP / cell.scale**3
    _add_tubes(organelles=organelles, cell=cell, heights=heights, volume=volume, rng=rng)
    for _ in range(int(volume / 5e5)):
        # Some sheets begin before the stack or end behind it.
        low = rng.uniform(heights[0] - 40.0, heights[1] - 20.0)
        width = cell.scale * rng.uniform(30.0, 90.0)
        where = (rng.uniform(0.25, 0.8), rng.uniform(0.0, 2.0 * np.pi))
        organelles.append(
            wavy_sheet(
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
    mitochondrion = wavy_sheet(
        cell=cell,
        heights=heights,
        where=(0.5, side),
        width=24.0 * cell.scale,
        radius=_mitochondrion_radius(cell),
        label=MITOCHONDRION,
        rng=rng,
    )
    er = wavy_sheet(
        cell=cell,
        heights=heights,
        where=(0.55, side + np.pi),
        width=70.0 * cell.scale,
        radius=_er_radius(cell),
        label=ER,
        rng=rng,
    )
    return [mitochondrion, er]


def _touching_mitochondria(
    organelles: list[Organelle], cell: Cell, heights: _Pair, rng: Generator
) -> list[Organelle]:
    """Make a mitochondrion that touches another in the stack, and that one if it is new.

    There is none where the cell has no room for it.
    """
    radius = _mitochondrion_radius(cell)
    placed = [organelle for organelle in organelles if organelle.label == MITOCHONDRION]
    for _ in range(_PAIR_ATTEMPTS):
        # Smaller than the others, or a cell would hold one pair.
        size = rng.uniform(*_TOUCHING_SIZES)
        first, second = (
            _tube_anywhere(
                cell=cell,
                heights=heights,
                longest=size * _LONGEST,
                radius=size * radius,
                label=MITOCHONDRION,
                rng=rng,
            )
            for _ in range(2)
        )
        new = [first] if rng.random() < 0.5 and fits(first, cell, organelles) else []
        touched = new[0] if new else placed[rng.integers(len(placed))]
        touching = _pushed_to(second, touched, rng)
        # Bent, the two may meet at another place, too, and deeper.
        apart = np.linalg.norm(touched.points[:, None] - touching.points, axis=2)
        height = touching.points[apart.min(axis=0).argmin(), 0]
        others = [organelle for organelle in [*organelles, *new] if organelle is not touched]
        if (
            apart.min() >= _OVERLAP[0] * (touched.radius + touching.radius)
            and 0.0 <= height <= heights[1] - Z_STEP
            and fits(touching, cell, others)
        ):
            return [*new, touching]
    return []


def _pushed_to(organelle: Organelle, touched: Organelle, rng: Generator) -> Organelle:
    """Move an organelle along the slice to where it overlaps another one a little."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    away = np.array([0.0, np.sin(angle), np.cos(angle)])
    distance = (organelle.radius + touched.radius) * rng.uniform(*_OVERLAP)
    middle = organelle.points[len(organelle.points) // 2]
    points = organelle.points - middle + rng.choice(touched.points) + distance * away
    return replace(organelle, points=points.astype(np.float32), touched=touched)


def _add_tubes(
    organelles: list[Organelle], cell: Cell, heights: _Pair, volume: float, rng: Generator
) -> None:
    """Add mitochondria and ER tubules where they find room; most mitochondria find none."""
    for attempts, longest, radius, label in (
        (volume / 6e3, _LONGEST, _mitochondrion_radius(cell), MITOCHONDRION),
        (volume / 9e4, 90.0, _er_radius(cell), ER),
    ):
        for _ in range(int(attempts)):
            tube = _tube_anywhere(
                cell=cell, heights=heights, longest=longest, radius=radius, label=label, rng=rng
            )
            if fits(tube, cell, organelles):
                organelles.append(tube)


def _tube_anywhere(
    cell: Cell, heights: _Pair, longest: float, radius: float, label: int, rng: Generator
) -> Organelle:
    """Make a tube somewhere in the cell, whether or not there is room for it."""
    low = (0.0, 0.0, 0.0)
    high = (heights[1] - Z_STEP, 2.0 * np.pi, 0.8)
    z, theta, area = rng.uniform(low, high)[:, None]
    return bent_tube(
        # The root of a uniform number: points are as dense outside as at the centre.
        start=cell.point(np.sqrt(area), theta, z),
        length=longest * cell.scale * rng.uniform(0.3, 1.0),
        radius=radius * rng.uniform(0.8, 1.2),
        label=label,
        rng=rng,
    )


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
            if fits(ball, cell, organelles + balls):
                balls.append(ball)
    return balls
