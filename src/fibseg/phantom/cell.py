"""A synthetic FIB-SEM stack with exact labels, for the demo and the tests; never a result.

`phantom_scene.py` lays out cells and organelles as clouds of points with a radius, so one function draws them all: the
distance below the surface gives the label and the grey level (dark border, inside). Vesicles, lysosomes and lipid
droplets are drawn too, but are background, as in many annotations. `phantom_texture.py` gives the grain of the
cytoplasm; `phantom_camera.py` adds what the microscope does.
All lengths are in pixels of the slice; one slice is about `Z_STEP` pixels thick (20 nm against 5 nm).
The stack is drawn slice by slice: beyond the two results it needs the memory of a few slices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.phantom.camera import Camera, slow_drift
from fibseg.phantom.scene import (
    ER,
    GAP,
    MEMBRANE,
    MITO,
    OTHER,
    TILE,
    Z_STEP,
    Cell,
    Organelle,
    cells,
    organelles_of,
)
from fibseg.phantom.texture import Texture

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
_Part = tuple[tuple[slice, slice], Floats, Floats]
Rng = np.random.Generator

SMALLEST = (1, 32, 32)
RESIN, CYTOPLASM = 192.0, 168.0  # grey levels
PLASMA = (
    (0.0, 0.3, 0.5, 0.7, 1.0),
    (108.0, 76.0, 66.0, 76.0, 108.0),
)  # part of the membrane's depth, grey level
CRISTA = 66.0  # grey level
GRAIN, RIBOSOME = 9.0, 21.0  # grey levels: of the cytosol, and of the dots in it
ROUGH = {OTHER: 0.4, MITO: 0.7, MEMBRANE: 0.7, ER: 0.4}  # share of the cytosol's grain


@dataclass(frozen=True)
class _Canvas:
    """One slice in the making, each (H, W)."""

    grey: Floats
    labels: Bytes
    room: Floats  # pixels to the nearest membrane or mitochondrion; negative in them and in resin
    er: Floats  # pixels to the ER drawn so far; negative in it
    rough: Floats  # share of the cytosol's grain


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
    scene = [(cell, organelles_of(cell, depth, rng)) for cell in cells(depth, height, width, rng)]
    image = np.empty((depth, height, width), np.uint8)
    labels = np.zeros_like(image)
    heights, shifts = _stage(depth, min(height, width, TILE), rng)
    camera, texture = Camera((depth, height, width), rng), Texture(height, width, Z_STEP, rng)
    for z in range(depth):
        canvas = _blank(labels[z])
        for cell, organelles in scene:
            _draw_cell(canvas, cell, heights[z], shifts[z])
            for organelle in organelles:
                _draw_organelle(canvas, organelle, heights[z], shifts[z])
        _draw_grain(canvas, texture.next(shifts[z]))
        image[z] = camera.expose(canvas.grey, np.isneginf(canvas.room), z)
    return image, labels


def _check(shape: tuple[int, int, int], seed: int) -> None:
    """Refuse what cannot be drawn."""
    sizes = np.asarray(shape)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or np.any(sizes < SMALLEST):
        expected = f"three integers (Z, H, W) of at least {SMALLEST}"
        raise FibsegError(f"phantom shape is {shape}, expected {expected}; give such a shape.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise FibsegError(
            f"phantom seed is {seed}, expected an integer of 0 or more; give such a seed."
        )


def _blank(labels: Bytes) -> _Canvas:
    """Start a slice of resin on its labels (H, W), which are 0."""
    grey, room, er, rough = (
        np.full(labels.shape, fill, np.float32) for fill in (RESIN, -np.inf, np.inf, 0.0)
    )
    return _Canvas(grey, labels, room, er, rough)


def _window(points: Floats, margin: float, canvas: _Canvas, shift: Floats) -> _Part:
    """Find the part of the slice that holds points (N, 2) and a margin; its coordinates are y (h, 1), x (1, w)."""
    first = np.clip(points.min(axis=0) - margin + shift, 0, canvas.grey.shape).astype(int)
    last = np.clip(points.max(axis=0) + margin + shift + 2, 0, canvas.grey.shape).astype(int)
    y = np.arange(first[0], last[0], dtype=np.float32)[:, None] - np.float32(shift[0])
    x = np.arange(first[1], last[1], dtype=np.float32)[None] - np.float32(shift[1])
    return (slice(first[0], last[0]), slice(first[1], last[1])), y, x


def _stage(depth: int, size: int, rng: Rng) -> tuple[Floats, Floats]:
    """Draw where the slices lie: heights (Z,) at uneven steps, and shifts (Z, 2) y, x of the stage; all in pixels."""
    steps = np.clip(rng.normal(1.0, 0.15, depth), 0.6, 1.4)
    steps[0] = 0.0
    heights = np.cumsum(steps) * Z_STEP * (depth - 1) / max(steps.sum(), 1.0)
    limit = min(2.5, size / 40.0)  # keeps the cell clear of the edge
    shifts = np.stack([slow_drift(depth, 0.35, 0.3, rng) for _ in range(2)], axis=1)
    return heights.astype(np.float32), np.clip(shifts, -limit, limit).astype(np.float32)


def _draw_cell(canvas: _Canvas, cell: Cell, z: float, shift: Floats) -> None:
    """Draw the membrane and the cytoplasm, and open the room for organelles."""
    part, y, x = _window(
        np.array([cell.centre], np.float32), 1.1 * cell.axes[0] + 2.0, canvas, shift
    )
    y, x = y - np.float32(cell.centre[0]), x - np.float32(cell.centre[1])
    excess = np.hypot(y, x) - cell.outline(np.arctan2(y, x), z)
    slope = np.hypot(*np.gradient(excess))  # near 1 at the outline, but large at the centre
    inside = -excess / np.clip(slope, 0.5, 2.0)  # pixels below the outline
    within = inside > 0
    canvas.labels[part][within & (inside < cell.membrane)] = MEMBRANE
    grey = np.interp(inside / cell.membrane, (*PLASMA[0], 1.1), (*PLASMA[1], CYTOPLASM))
    canvas.grey[part][within] = grey[within]
    canvas.rough[part][within] = np.where(inside < cell.membrane, ROUGH[MEMBRANE], 1.0)[within]
    canvas.room[part][within] = (inside - cell.membrane)[within]


def _draw_organelle(canvas: _Canvas, organelle: Organelle, z: float, shift: Floats) -> None:
    """Draw where the organelle is nearer than its radius and keeps `GAP` from other classes; ER fuses with ER."""
    margin = organelle.radius + GAP
    points = organelle.points[np.abs(organelle.points[:, 0] - z) < margin]
    if not len(points):
        return
    part, y, x = _window(points[:, 1:], margin, canvas, shift)
    square = np.full(
        canvas.grey[part].shape, np.inf, np.float32
    )  # distance to the nearest point, squared
    for height, row, column in points:
        np.minimum(square, (y - row) ** 2 + ((x - column) ** 2 + (height - z) ** 2), out=square)
    room = canvas.room[part]
    outside = np.maximum(
        np.sqrt(square) - organelle.radius, GAP - room
    )  # signed distance to the surface
    if organelle.label == OTHER:
        outside = np.maximum(outside, GAP - canvas.er[part])
    within = outside < 0
    drawn = canvas.er[part] if organelle.label == ER else room
    np.minimum(drawn, outside, out=drawn)
    grey = np.asarray(np.interp(-drawn, *organelle.profile), np.float32)
    if organelle.label == MITO:
        grey = _cristae(grey, -outside, organelle, (z, y, x))
    canvas.grey[part][within] = grey[within]
    canvas.rough[part][within] = ROUGH[organelle.label]
    canvas.labels[part][within] = organelle.label


def _cristae(
    grey: Floats, depth: Floats, organelle: Organelle, at: tuple[float, Floats, Floats]
) -> Floats:
    """Darken lamellae inside the inner membrane; each is broken at places of its own."""
    z, y, x = at
    along = organelle.lamella[1] * y + organelle.lamella[2] * x + organelle.lamella[0] * z
    across = organelle.lamella[1] * x - organelle.lamella[2] * y
    bent = (
        along
        + 1.8 * np.sin(across / 6.0 + organelle.phase)
        + 1.5 * np.sin(along / 5.3 + across / 9.0)
    )
    turns = bent / 8.0 + organelle.phase  # about 8 px per crista
    number = np.round(turns)
    ridge = np.clip(2.4 * np.cos(2.0 * np.pi * turns) - 0.9, 0.0, 1.0) * (
        0.75 + 0.25 * np.sin(4.1 * number)
    )
    gate = np.clip(2.5 * np.sin(across / (5.5 + np.sin(number)) + 2.4 * number) + 1.6, 0.0, 1.0)
    inner = np.clip(depth - 3.0, 0.0, 1.0)
    return np.asarray(grey + (CRISTA - grey) * ridge * gate * inner, np.float32)


def _draw_grain(canvas: _Canvas, field: Floats) -> None:
    """Add the grain of the cytosol and the ribosomes, dark dots where the field is high; more of them at the ER."""
    near = (canvas.er > 0.0) & (canvas.er < 5.0) & (canvas.room > GAP)
    dots = np.clip(field - np.where(near, np.float32(0.2), np.float32(0.9)), 0.0, 2.5)
    canvas.grey[...] -= canvas.rough * (np.float32(GRAIN) * field + np.float32(RIBOSOME) * dots)
