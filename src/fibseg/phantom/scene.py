"""Where the cells of the phantom lie; never a result.

All lengths are in pixels of the slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from fibseg.arrays import Floats

_Pair = tuple[float, float]

BACKGROUND = 0
MITOCHONDRION = 1
MEMBRANE = 2
ER = 3
"""Label values. Objects that are drawn but not annotated have that of the background."""

Z_STEP = 4.0
"""Distance of two slices in pixels."""

TILE_SIDE = 256
"""Side in pixels of the part of a slice that holds one cell."""


@dataclass(frozen=True)
class Cell:
    """An ellipsoid with a wavy outline; lengths in pixels, angles in radians.

    Attributes:
        centre: y and x.
        axes: long and short semi-axis in the slice.
        turn: angle of the long axis.
        middle: z of the widest section.
        reach: semi-axis along z.
        phases: (4,), phases of the outline's waves.
        scale: 0.25 to 1; organelles are smaller in small cells.
        membrane: thickness of the membrane.
    """

    centre: _Pair
    axes: _Pair
    turn: float
    middle: float
    reach: float
    phases: Floats
    scale: float
    membrane: float

    def outline(self, theta: Floats, z: Floats | float) -> Floats:
        """Compute the distance from the centre to the outline at angle `theta` and height `z`.

        The shapes of `theta` and `z` broadcast.
        """
        long, short = self.axes
        angle = theta - self.turn
        # The ellipse in polar coordinates.
        ellipse = long * short / np.hypot(short * np.cos(angle), long * np.sin(angle))
        phases = enumerate(self.phases, start=1)
        # Two to five lobes around the outline, the more the smaller.
        waves = sum(
            0.035 / n * np.cos((n + 1) * theta + phase + z / (60.0 * n)) for n, phase in phases
        )
        # Not below .1: a section that vanishes would leave slices without a membrane.
        section = np.sqrt(np.maximum(1.0 - ((z - self.middle) / self.reach) ** 2, 0.1))
        return np.asarray(ellipse * section * (1.0 + waves), np.float32)

    def point(self, fraction: Floats, theta: Floats, z: Floats) -> Floats:
        """Compute points (N, 3) z, y, x at a fraction (0 centre, 1 outline) of the way out."""
        radius = fraction * self.outline(theta, z)
        y = self.centre[0] + radius * np.sin(theta)
        x = self.centre[1] + radius * np.cos(theta)
        return np.stack(np.broadcast_arrays(z, y, x), axis=-1).reshape(-1, 3)


def tiles(height: int, width: int) -> tuple[int, int]:
    """Count the tiles of a slice (H, W) in rows and columns; each holds one cell."""
    return max(1, round(height / TILE_SIDE)), max(1, round(width / TILE_SIDE))


def cells(depth: int, height: int, width: int, rng: Generator) -> Iterator[Cell]:
    """Place one cell per tile, off its centre in large tiles.

    So a good part of a large slice is resin; a small slice is filled by its cell.
    """
    rows, columns = tiles(height, width)
    size = min(height / rows, width / columns)
    # 0 for tiles up to 64 pixels a side, 1 from 192 on.
    large = float(np.clip((size - 64.0) / 128.0, 0.0, 1.0))
    scale = float(np.clip(size / 128.0, 0.25, 1.0))
    length = depth * Z_STEP
    for row, column in np.ndindex(rows, columns):
        # Towards one of the four corners of its tile, so that resin is on two sides.
        off = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.095, 0.105, 2) * large * size
        yield Cell(
            centre=(
                (row + 0.5) * height / rows + off[0],
                (column + 0.5) * width / columns + off[1],
            ),
            axes=(size * (0.42 - 0.06 * large), size * (0.38 - 0.10 * large)),
            turn=rng.uniform(0.0, np.pi),
            middle=length * rng.uniform(0.4, 0.6),
            # Longer than the stack: the cell is cut by every slice.
            reach=max(1.3 * length, 80.0),
            phases=rng.uniform(0.0, 2.0 * np.pi, 4).astype(np.float32),
            scale=scale,
            membrane=3.0 + 2.0 * scale,
        )
