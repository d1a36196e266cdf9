"""Where everything of the phantom lies: cells, organelles, and what is neither; never a result.

Every organelle is a cloud of points with one radius: a voxel belongs to it when its nearest point is closer than the
radius. Bent capsules (mitochondria, ER tubules), sheets (ER) and balls (vesicles, lysosomes, lipid droplets, which are
background) are clouds alike. All lengths are in pixels of the slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Pair = tuple[float, float]
Profile = tuple[tuple[float, ...], tuple[float, ...]]
Rng = np.random.Generator

OTHER, MITO, MEMBRANE, ER = 0, 1, 2, 3  # label values; 0 is background
Z_STEP = 4.0  # pixels from slice to slice
TILE = 256  # pixels; about one cell per tile of this size
STEP = 0.9  # times the root of the radius: distance of a cloud's points, for a surface smooth to STEP**2 / 8 pixels
GAP = 2.0  # pixels of cytoplasm between two organelles
# label -> depth below the surface in pixels, grey level at that depth
PROFILE = {
    MITO: ((0.0, 1.4, 2.2, 3.2, 4.6), (82.0, 64.0, 92.0, 72.0, 132.0)),
    ER: ((0.0, 0.8, 1.5, 2.2), (104.0, 72.0, 110.0, 225.0)),
}
# name -> radii in pixels, one per so many cubic pixels, profile: objects of the background
OTHERS = {
    "vesicle": ((3.4, 5.0), 3.0e4, ((0.0, 1.0, 2.2, 3.2), (120.0, 84.0, 130.0, 180.0))),
    "lysosome": ((4.0, 7.5), 1.6e5, ((0.0, 1.5, 4.0), (110.0, 74.0, 92.0))),
    "droplet": ((4.0, 8.0), 2.4e5, ((0.0, 1.0, 2.0), (128.0, 104.0, 128.0))),
}


@dataclass(frozen=True)
class Cell:
    """An ellipsoid with a wavy outline; lengths in pixels, angles in radians."""

    centre: Pair  # y, x
    axes: Pair  # long and short semi-axis in the slice
    turn: float  # angle of the long axis
    middle: float  # z of the widest section
    reach: float  # semi-axis along z
    phases: Floats  # (4,) of the outline's waves
    scale: float  # 0.25 to 1; organelles are smaller in small cells
    membrane: float  # thickness

    def outline(self, theta: Floats, z: Floats | float) -> Floats:
        """Distance from the centre to the outline at angle `theta` and height `z` (shapes broadcast)."""
        long, short = self.axes
        ellipse = (
            long
            * short
            / np.hypot(short * np.cos(theta - self.turn), long * np.sin(theta - self.turn))
        )
        phases = enumerate(self.phases, start=1)
        waves = sum(
            0.035 / n * np.cos((n + 1) * theta + phase + z / (60.0 * n)) for n, phase in phases
        )
        section = np.sqrt(np.maximum(1.0 - ((z - self.middle) / self.reach) ** 2, 0.1))
        return np.asarray(ellipse * section * (1.0 + waves), np.float32)

    def point(self, fraction: Floats, theta: Floats, z: Floats) -> Floats:
        """(N, 3) points z, y, x at a fraction (0 centre, 1 outline) of the way along `theta`."""
        rho = fraction * self.outline(theta, z)
        y, x = self.centre[0] + rho * np.sin(theta), self.centre[1] + rho * np.cos(theta)
        return np.stack(np.broadcast_arrays(z, y, x), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Organelle:
    """A cloud of points (N, 3) float32 (z, y, x in pixels) with one radius in pixels."""

    points: Floats
    radius: float
    label: int
    profile: Profile
    lamella: Floats  # (3,) normal of the cristae: z, y, x
    phase: float  # of the cristae, radians


def cells(depth: int, height: int, width: int, rng: Rng) -> Iterator[Cell]:
    """Place one cell per tile, off its centre in large tiles, so that a good part of the slice is resin."""
    rows, columns = max(1, round(height / TILE)), max(1, round(width / TILE))
    size = min(height / rows, width / columns)
    large = float(np.clip((size - 64.0) / 128.0, 0.0, 1.0))  # small slices are filled by their cell
    scale, length = float(np.clip(size / 128.0, 0.25, 1.0)), depth * Z_STEP
    for row, column in np.ndindex(rows, columns):
        off = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.095, 0.105, 2) * large * size
        yield Cell(
            centre=(
                (row + 0.5) * height / rows + off[0],
                (column + 0.5) * width / columns + off[1],
            ),
            axes=(size * (0.42 - 0.06 * large), size * (0.38 - 0.10 * large)),
            turn=rng.uniform(0.0, np.pi),
            middle=length * rng.uniform(0.4, 0.6),
            reach=max(1.3 * length, 80.0),
            phases=rng.uniform(0.0, 2.0 * np.pi, 4).astype(np.float32),
            scale=scale,
            membrane=3.0 + 2.0 * scale,
        )


def organelles_of(cell: Cell, depth: int, rng: Rng) -> list[Organelle]:
    """Place a mitochondrion and an ER sheet that cross all slices, on opposite sides, then some others."""
    top, bottom = -Z_STEP, depth * Z_STEP
    side = cell.turn + rng.choice([0.0, np.pi]) + rng.uniform(-0.2, 0.2)
    thick, thin = 15.0 * cell.scale, max(2.4, 3.0 * cell.scale)  # radii
    found = [
        _sheet(cell, (top, bottom), (0.5, side), 24.0 * cell.scale, thick, MITO, rng),
        _sheet(cell, (top, bottom), (0.55, side + np.pi), 70.0 * cell.scale, thin, ER, rng),
    ]
    volume = np.pi * cell.axes[0] * cell.axes[1] * depth * Z_STEP / cell.scale**3
    for attempts, longest, radius, label in (
        (volume / 6e3, 75.0, thick, MITO),
        (volume / 9e4, 90.0, thin, ER),
    ):
        for _ in range(int(attempts)):  # most mitochondria find no room
            z, theta, area = rng.uniform((0.0, 0.0, 0.0), (bottom - Z_STEP, 2.0 * np.pi, 0.8))[
                :, None
            ]
            length = longest * cell.scale * rng.uniform(0.3, 1.0)
            new = _tube(
                cell.point(np.sqrt(area), theta, z),
                length,
                radius * rng.uniform(0.8, 1.2),
                label,
                rng,
            )
            if _fits(new, cell, found):
                found.append(new)
    for _ in range(int(volume / 5e5)):
        low, width = rng.uniform(top - 40.0, bottom - 20.0), cell.scale * rng.uniform(30.0, 90.0)
        where = (rng.uniform(0.25, 0.8), rng.uniform(0.0, 2.0 * np.pi))
        found.append(_sheet(cell, (low, low + 60.0), where, width, thin, ER, rng))
    found.sort(key=lambda organelle: organelle.label)  # the ER goes round the mitochondria
    return found + _others(cell, (top, bottom), found, rng)


def _others(cell: Cell, heights: Pair, found: list[Organelle], rng: Rng) -> list[Organelle]:
    """Place small balls that are background between the organelles."""
    volume = np.pi * cell.axes[0] * cell.axes[1] * (heights[1] - heights[0]) / cell.scale**3
    others: list[Organelle] = []
    for radii, share, profile in OTHERS.values():
        for _ in range(round(volume / share)):
            z, theta, area = rng.uniform((heights[0], 0.0, 0.0), (heights[1], 2.0 * np.pi, 0.9))[
                :, None
            ]
            point, radius = (
                cell.point(np.sqrt(area), theta, z),
                max(2.0, cell.scale * rng.uniform(*radii)),
            )
            new = Organelle(
                point.astype(np.float32), radius, OTHER, profile, np.zeros(3, np.float32), 0.0
            )
            if _fits(new, cell, found + others):
                others.append(new)
    return others


def _with_cristae(points: Floats, radius: float, label: int, rng: Rng) -> Organelle:
    """Make an organelle whose cristae lie across the long axis of its cloud, as seen in the slice."""
    along = np.linalg.eigh(np.cov(points[:, 1:].T))[1][:, 1]
    lamella = np.array([rng.uniform(-0.15, 0.15), along[0], along[1]], np.float32)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    return Organelle(points.astype(np.float32), radius, label, PROFILE[label], lamella, phase)


def _tube(start: Floats, length: float, radius: float, label: int, rng: Rng) -> Organelle:
    """Bend a capsule around `start` (1, 3)."""
    count = max(2, round(length / (STEP * radius**0.5)))
    way = np.linspace(-0.5, 0.5, count)
    heading = (
        rng.uniform(0.0, 2.0 * np.pi)
        + rng.uniform(-1.8, 1.8) * way
        + 0.4 * np.sin(9.0 * way + rng.uniform(0, 6))
    )
    tilt = rng.uniform(-0.6, 0.6)
    course = np.stack(
        [np.full(count, np.tan(tilt)), np.sin(heading), np.cos(heading)], axis=1
    ) * np.cos(tilt)
    line = np.cumsum(course, axis=0) * length / count
    return _with_cristae(start + line - line.mean(axis=0), radius, label, rng)


def _sheet(
    cell: Cell, heights: Pair, where: Pair, width: float, radius: float, label: int, rng: Rng
) -> Organelle:
    """Lay a wavy sheet between two heights at `where` = (fraction, angle) of the cell, along its outline."""
    fraction, angle = where
    z = np.arange(*heights, STEP * radius**0.5)[:, None]  # (rows, 1)
    along = np.linspace(-0.5, 0.5, max(2, round(width / (STEP * radius**0.5))))  # (columns,)
    grow = 1.0 + 0.25 * np.sin(z / 23.0 + rng.uniform(0.0, 6.0))
    theta = (
        angle
        + along * grow * width / (fraction * cell.axes[1])
        + 0.15 * np.sin(z / 35.0 + rng.uniform(0.0, 6.0))
    )
    wave = 0.05 * np.sin(5.0 * theta + z / 30.0 + rng.uniform(0.0, 6.0))
    return _with_cristae(cell.point(fraction + wave, theta, z), radius, label, rng)


def _fits(new: Organelle, cell: Cell, found: list[Organelle]) -> bool:
    """Tell whether the new organelle lies inside the cell, clear of the others."""
    y, x = new.points[:, 1] - cell.centre[0], new.points[:, 2] - cell.centre[1]
    inner = cell.outline(np.arctan2(y, x), new.points[:, 0]) - cell.membrane - GAP
    if np.any(np.hypot(y, x) + new.radius > inner):
        return False
    low, high = new.points.min(axis=0), new.points.max(axis=0)
    for old in found:
        keep = new.radius + old.radius + GAP
        near = old.points[np.all((old.points > low - keep) & (old.points < high + keep), axis=1)]
        if np.any(np.sum((new.points[:, None] - near) ** 2, axis=2) < keep**2):
            return False
    return True
