"""A synthetic FIB-SEM stack with exact labels, for the demo and the tests; never a result.

Every organelle is a cloud of points with one radius: a voxel belongs to it when its nearest point is
closer than the radius. Bent capsules (mitochondria, ER tubules) and sheets (ER) are clouds alike, so one
function draws them all. The distance below the surface gives the grey level (dark border, inside).
All lengths are in pixels of the slice; one slice is `Z_STEP` pixels thick (20 nm against 5 nm).
The stack is drawn slice by slice: beyond the two results it needs the memory of a few slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.errors import FibsegError

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
Pair = tuple[float, float]
Window = tuple[tuple[slice, slice], Floats, Floats]
Rng = np.random.Generator

MITO, MEMBRANE, ER = 1, 2, 3  # label values; 0 is background
Z_STEP = 4.0  # pixels from slice to slice
TILE = 256  # pixels; about one cell per tile of this size
STEP = 0.9  # times the root of the radius: distance of a cloud's points, for a surface smooth to STEP**2 / 8 pixels
GAP = 2.0  # pixels of cytoplasm between two organelles
SMALLEST = (1, 32, 32)
RESIN, CYTOPLASM, DARK = 182.0, 163.0, 92.0  # grey levels
# label -> (depth below the surface in pixels, grey level at that depth)
PROFILE = {
    MITO: ((0.0, 1.6, 2.6, 3.6, 5.0), (88.0, 92.0, 130.0, 98.0, 138.0)),
    ER: ((0.0, 1.4, 2.6), (90.0, 96.0, 160.0)),
}


@dataclass(frozen=True)
class _Cell:
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
        ellipse = long * short / np.hypot(short * np.cos(theta - self.turn), long * np.sin(theta - self.turn))
        phases = enumerate(self.phases, start=1)
        waves = sum(0.035 / n * np.cos((n + 1) * theta + phase + z / (60.0 * n)) for n, phase in phases)
        section = np.sqrt(np.maximum(1.0 - ((z - self.middle) / self.reach) ** 2, 0.1))
        return np.asarray(ellipse * section * (1.0 + waves), np.float32)

    def point(self, fraction: Floats, theta: Floats, z: Floats) -> Floats:
        """(N, 3) points z, y, x at a fraction (0 centre, 1 outline) of the way along `theta`."""
        rho = fraction * self.outline(theta, z)
        y, x = self.centre[0] + rho * np.sin(theta), self.centre[1] + rho * np.cos(theta)
        return np.stack(np.broadcast_arrays(z, y, x), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class _Organelle:
    """A cloud of points (N, 3) float32 (z, y, x in pixels) with one radius in pixels."""

    points: Floats
    radius: float
    label: int
    lamella: Floats  # (3,) normal of the cristae: z, y, x
    phase: float  # of the cristae, radians


@dataclass(frozen=True)
class _Canvas:
    """One slice in the making, each (H, W)."""

    grey: Floats
    labels: Bytes
    room: Floats  # pixels to the nearest membrane or mitochondrion; negative in them and in resin
    er: Floats  # pixels to the ER drawn so far; negative in it


def make_phantom(shape: tuple[int, int, int], seed: int) -> tuple[Bytes, Bytes]:
    """Draw a small synthetic FIB-SEM stack and its exact labels.

    Every class is present in every slice. The same shape and seed give the same bytes.

    Args:
        shape: (Z, H, W) in voxels, at least (1, 32, 32); a voxel is 20 x 5 x 5 nm.
        seed: 0 or more.

    Returns:
        image: (Z, H, W) uint8, grey levels 0 to 255, membranes dark.
        labels: (Z, H, W) uint8; 0 background, 1 mitochondrion, 2 membrane, 3 er.

    Raises:
        FibsegError: the shape is too small or not three integers, or the seed is negative.

    Example:
        >>> image, labels = make_phantom((2, 64, 64), seed=0)
        >>> image.shape, sorted(set(labels.ravel().tolist()))
        ((2, 64, 64), [0, 1, 2, 3])
    """
    _check(shape, seed)
    rng = np.random.default_rng(seed)
    depth, height, width = (int(size) for size in shape)
    scene = [(cell, _organelles(cell, depth, rng)) for cell in _cells(depth, height, width, rng)]
    image = np.empty((depth, height, width), np.uint8)
    labels = np.zeros_like(image)
    shade = _shading(height, width, rng)
    drift = ndimage.gaussian_filter1d(rng.normal(0.0, 5.0, depth), 1.0, mode="nearest")  # grey levels
    jitter = np.clip(rng.normal(0.0, 0.5, (depth, 2)), -1.0, 1.0)  # pixels y, x
    for z in range(depth):
        grey, room, er = (np.full((height, width), value, np.float32) for value in (RESIN, -np.inf, np.inf))
        canvas = _Canvas(grey, labels[z], room, er)
        for cell, organelles in scene:
            _draw_cell(canvas, cell, z * Z_STEP, jitter[z])
            for organelle in organelles:
                _draw_organelle(canvas, organelle, z * Z_STEP, jitter[z])
        image[z] = _expose(canvas, shade + drift[z], rng)
    return image, labels


def _check(shape: tuple[int, int, int], seed: int) -> None:
    """Refuse what cannot be drawn."""
    sizes = np.asarray(shape)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or np.any(sizes < SMALLEST):
        expected = f"three integers (Z, H, W) of at least {SMALLEST}"
        raise FibsegError(f"phantom shape is {shape}, expected {expected}; give such a shape.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise FibsegError(f"phantom seed is {seed}, expected an integer of 0 or more; give such a seed.")


def _cells(depth: int, height: int, width: int, rng: Rng) -> Iterator[_Cell]:
    """Place one cell per tile, off its centre in large tiles, so that a good part of the slice is resin."""
    rows, columns = max(1, round(height / TILE)), max(1, round(width / TILE))
    size = min(height / rows, width / columns)
    large = float(np.clip((size - 64.0) / 128.0, 0.0, 1.0))  # small slices are filled by their cell
    scale, length = float(np.clip(size / 128.0, 0.25, 1.0)), depth * Z_STEP
    for row, column in np.ndindex(rows, columns):
        off = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.095, 0.105, 2) * large * size
        yield _Cell(
            centre=((row + 0.5) * height / rows + off[0], (column + 0.5) * width / columns + off[1]),
            axes=(size * (0.42 - 0.06 * large), size * (0.38 - 0.10 * large)),
            turn=rng.uniform(0.0, np.pi),
            middle=length * rng.uniform(0.4, 0.6),
            reach=max(1.3 * length, 80.0),
            phases=rng.uniform(0.0, 2.0 * np.pi, 4).astype(np.float32),
            scale=scale,
            membrane=3.0 + 2.0 * scale,
        )


def _organelles(cell: _Cell, depth: int, rng: Rng) -> list[_Organelle]:
    """Place a mitochondrion and an ER sheet that cross all slices, on opposite sides, then some others."""
    top, bottom = -Z_STEP, depth * Z_STEP
    side = cell.turn + rng.choice([0.0, np.pi]) + rng.uniform(-0.2, 0.2)
    thick, thin = 15.0 * cell.scale, max(2.4, 3.0 * cell.scale)  # radii
    found = [
        _sheet(cell, (top, bottom), (0.5, side), 24.0 * cell.scale, thick, MITO, rng),
        _sheet(cell, (top, bottom), (0.55, side + np.pi), 70.0 * cell.scale, thin, ER, rng),
    ]
    volume = np.pi * cell.axes[0] * cell.axes[1] * depth * Z_STEP / cell.scale**3
    for attempts, longest, radius, label in ((volume / 6e3, 75.0, thick, MITO), (volume / 9e4, 90.0, thin, ER)):
        for _ in range(int(attempts)):  # most mitochondria find no room
            z, theta, area = rng.uniform((0.0, 0.0, 0.0), (bottom - Z_STEP, 2.0 * np.pi, 0.8))[:, None]
            length = longest * cell.scale * rng.uniform(0.3, 1.0)
            new = _tube(cell.point(np.sqrt(area), theta, z), length, radius * rng.uniform(0.8, 1.2), label, rng)
            if _fits(new, cell, found):
                found.append(new)
    for _ in range(int(volume / 5e5)):
        low, width = rng.uniform(top - 40.0, bottom - 20.0), cell.scale * rng.uniform(30.0, 90.0)
        where = (rng.uniform(0.25, 0.8), rng.uniform(0.0, 2.0 * np.pi))
        found.append(_sheet(cell, (low, low + 60.0), where, width, thin, ER, rng))
    return sorted(found, key=lambda organelle: organelle.label)  # the ER goes round the mitochondria


def _with_cristae(points: Floats, radius: float, label: int, rng: Rng) -> _Organelle:
    """Make an organelle whose cristae lie across the long axis of its cloud, as seen in the slice."""
    along = np.linalg.eigh(np.cov(points[:, 1:].T))[1][:, 1]
    lamella = np.array([rng.uniform(-0.15, 0.15), along[0], along[1]], np.float32)
    return _Organelle(points.astype(np.float32), radius, label, lamella, rng.uniform(0.0, 2.0 * np.pi))


def _tube(start: Floats, length: float, radius: float, label: int, rng: Rng) -> _Organelle:
    """Bend a capsule around `start` (1, 3)."""
    count = max(2, round(length / (STEP * radius**0.5)))
    way = np.linspace(-0.5, 0.5, count)
    heading = rng.uniform(0.0, 2.0 * np.pi) + rng.uniform(-1.8, 1.8) * way + 0.4 * np.sin(9.0 * way + rng.uniform(0, 6))
    tilt = rng.uniform(-0.6, 0.6)
    course = np.stack([np.full(count, np.tan(tilt)), np.sin(heading), np.cos(heading)], axis=1) * np.cos(tilt)
    line = np.cumsum(course, axis=0) * length / count
    return _with_cristae(start + line - line.mean(axis=0), radius, label, rng)


def _sheet(cell: _Cell, heights: Pair, where: Pair, width: float, radius: float, label: int, rng: Rng) -> _Organelle:
    """Lay a wavy sheet between two heights at `where` = (fraction, angle) of the cell, along its outline."""
    fraction, angle = where
    z = np.arange(*heights, STEP * radius**0.5)[:, None]  # (rows, 1)
    along = np.linspace(-0.5, 0.5, max(2, round(width / (STEP * radius**0.5))))  # (columns,)
    grow = 1.0 + 0.25 * np.sin(z / 23.0 + rng.uniform(0.0, 6.0))
    theta = angle + along * grow * width / (fraction * cell.axes[1]) + 0.15 * np.sin(z / 35.0 + rng.uniform(0.0, 6.0))
    wave = 0.05 * np.sin(5.0 * theta + z / 30.0 + rng.uniform(0.0, 6.0))
    return _with_cristae(cell.point(fraction + wave, theta, z), radius, label, rng)


def _fits(new: _Organelle, cell: _Cell, found: list[_Organelle]) -> bool:
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


def _window(points: Floats, margin: float, canvas: _Canvas, jitter: Floats) -> Window:
    """Find the part of the slice that holds points (N, 2) and a margin; its coordinates are y (h, 1), x (1, w)."""
    first = np.clip(points.min(axis=0) - margin + jitter, 0, canvas.grey.shape).astype(int)
    last = np.clip(points.max(axis=0) + margin + jitter + 2, 0, canvas.grey.shape).astype(int)
    y = np.arange(first[0], last[0], dtype=np.float32)[:, None] - np.float32(jitter[0])
    x = np.arange(first[1], last[1], dtype=np.float32)[None] - np.float32(jitter[1])
    return (slice(first[0], last[0]), slice(first[1], last[1])), y, x


def _draw_cell(canvas: _Canvas, cell: _Cell, z: float, jitter: Floats) -> None:
    """Draw the membrane and the cytoplasm, and open the room for organelles."""
    part, y, x = _window(np.array([cell.centre], np.float32), 1.1 * cell.axes[0] + 2.0, canvas, jitter)
    y, x = y - np.float32(cell.centre[0]), x - np.float32(cell.centre[1])
    excess = np.hypot(y, x) - cell.outline(np.arctan2(y, x), z)
    inside = -excess / np.clip(np.hypot(*np.gradient(excess)), 0.5, None)  # pixels below the outline
    within = inside > 0
    canvas.labels[part][within & (inside < cell.membrane)] = MEMBRANE
    grey = np.interp(inside, (0.0, cell.membrane - 0.5, cell.membrane + 0.5), (DARK, DARK, CYTOPLASM))
    canvas.grey[part][within] = grey[within]
    canvas.room[part][within] = (inside - cell.membrane)[within]


def _draw_organelle(canvas: _Canvas, organelle: _Organelle, z: float, jitter: Floats) -> None:
    """Draw where the organelle is nearer than its radius and keeps `GAP` from other classes; ER fuses with ER."""
    margin = organelle.radius + GAP
    points = organelle.points[np.abs(organelle.points[:, 0] - z) < margin]
    if not len(points):
        return
    part, y, x = _window(points[:, 1:], margin, canvas, jitter)
    square = np.full(canvas.grey[part].shape, np.inf, np.float32)  # distance to the nearest point, squared
    for height, row, column in points:
        np.minimum(square, (y - row) ** 2 + ((x - column) ** 2 + (height - z) ** 2), out=square)
    room = canvas.room[part]
    outside = np.maximum(np.sqrt(square) - organelle.radius, GAP - room)  # signed distance to the surface
    within = outside < 0
    drawn = canvas.er[part] if organelle.label == ER else room
    np.minimum(drawn, outside, out=drawn)
    grey = np.asarray(np.interp(-drawn, *PROFILE[organelle.label]), np.float32)
    if organelle.label == MITO:
        grey = _cristae(grey, -outside, organelle, (z, y, x))
    canvas.grey[part][within] = grey[within]
    canvas.labels[part][within] = organelle.label


def _cristae(grey: Floats, depth: Floats, organelle: _Organelle, at: tuple[float, Floats, Floats]) -> Floats:
    """Darken lamellae inside the inner membrane; each is broken at places of its own."""
    z, y, x = at
    along = organelle.lamella[1] * y + organelle.lamella[2] * x + organelle.lamella[0] * z
    across = organelle.lamella[1] * x - organelle.lamella[2] * y
    turns = (along + 1.5 * np.sin(across / 6.0 + organelle.phase)) / 7.5 + organelle.phase  # 7.5 px per crista
    ridge = np.clip(2.6 * np.cos(2.0 * np.pi * turns) - 0.9, 0.0, 1.0)
    gate = np.clip(3.0 * np.sin(across / 5.0 + 2.4 * np.round(turns)) + 2.2, 0.0, 1.0)
    inner = np.clip(depth - 3.0, 0.0, 1.0)
    return np.asarray(grey + (DARK - grey) * ridge * gate * inner, np.float32)


def _shading(height: int, width: int, rng: Rng) -> Floats:
    """Draw smooth grey offsets (H, W) of about -8 to 8: a tilted, slightly bowed plane."""
    y, x = np.linspace(-1.0, 1.0, height)[:, None], np.linspace(-1.0, 1.0, width)[None]
    slope_y, slope_x, bow = rng.uniform(-4.0, 4.0, 3)
    return np.asarray(slope_y * y + slope_x * x + bow * (x**2 + y**2 - 0.7), np.float32)


def _expose(canvas: _Canvas, offset: Floats, rng: Rng) -> Bytes:
    """Turn a drawn slice into a micrograph (H, W) uint8: grain, blur, offset, shot and Gaussian noise."""
    grain = ndimage.gaussian_filter(rng.standard_normal(canvas.grey.shape, np.float32), 1.0)
    inside_cell = (canvas.grey < RESIN) & (canvas.labels == 0)
    mean = ndimage.gaussian_filter(canvas.grey + 35.0 * grain * inside_cell, 0.7) + offset
    electrons = 2.0  # per grey level: the standard deviation of the shot noise is 9 at grey level 160
    noisy = rng.poisson(np.clip(mean, 1.0, None) * electrons) / electrons + rng.normal(0.0, 4.0, mean.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
