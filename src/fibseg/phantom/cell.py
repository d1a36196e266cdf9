"""A synthetic FIB-SEM stack with exact labels, for the demo and the tests; never a result.

`scene` lays out cells, and `organelles` lays out clouds of points with a radius in them, so one
function draws all organelles: the distance below the surface gives the label and the grey level
(dark border, inside). Vesicles, lysosomes and lipid droplets are drawn too, but are background, as
in many annotations. `texture` gives the grain of the cytoplasm; `camera` adds what the microscope
does.
All lengths are in pixels of the slice; one slice is about `Z_STEP` pixels thick (20 nm against
5 nm). The stack is drawn slice by slice: beyond the two results it needs the memory of a few
slices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from fibseg.arrays import Floats, UInt8
from fibseg.errors import FibsegError
from fibseg.phantom.camera import Camera, slow_drift
from fibseg.phantom.organelles import GAP, Organelle, organelles_of
from fibseg.phantom.scene import (
    BACKGROUND,
    ER,
    MEMBRANE,
    MITOCHONDRION,
    TILE_SIDE,
    Z_STEP,
    Cell,
    cells,
)
from fibseg.phantom.texture import Texture

_Box = tuple[tuple[slice, slice], Floats, Floats]
"""A part of a slice, with its y (h, 1) and x (1, w) in the cell's coordinates."""

_SMALLEST_SHAPE = (1, 32, 32)

_RESIN_GREY = 192.0
_CYTOPLASM_GREY = 168.0
_CRISTA_GREY = 66.0

_MEMBRANE_DEPTHS = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Parts of the plasma membrane's thickness, from outside."""

_MEMBRANE_GREYS = (108.0, 76.0, 66.0, 76.0, 108.0)
"""Grey levels at these depths."""

_GRAIN = 9.0
"""Grey levels of the cytosol's grain."""

_RIBOSOME = 21.0
"""Grey levels of the dots in it."""

_ROUGHNESS = {BACKGROUND: 0.4, MITOCHONDRION: 0.7, MEMBRANE: 0.7, ER: 0.4}
"""Label -> share of the cytosol's grain in objects of the label."""


@dataclass(frozen=True)
class _Canvas:
    """One slice in the making.

    Attributes:
        grey: (H, W), grey levels without noise.
        labels: (H, W), label values.
        room: (H, W), pixels to the nearest membrane or mitochondrion; negative in them and in
            resin.
        er: (H, W), pixels to the ER drawn so far; negative in it.
        rough: (H, W), share of the cytosol's grain.
    """

    grey: Floats
    labels: UInt8
    room: Floats
    er: Floats
    rough: Floats


def make_phantom(shape: tuple[int, int, int], seed: int) -> tuple[UInt8, UInt8]:
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
    # Drawn in this order, which is part of the result: the same seed gives the same bytes.
    heights, shifts = _stage(depth, min(height, width, TILE_SIDE), rng)
    camera = Camera((depth, height, width), rng)
    texture = Texture(height, width, Z_STEP, rng)
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
    """Raise a FibsegError for a shape or seed that cannot be drawn."""
    # An array takes lists, tuples and NumPy's integers alike.
    sizes = np.asarray(shape)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or np.any(sizes < _SMALLEST_SHAPE):
        expected = f"three integers (Z, H, W) of at least {_SMALLEST_SHAPE}"
        raise FibsegError(f"phantom shape is {shape}, expected {expected}; give such a shape.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise FibsegError(
            f"phantom seed is {seed}, expected an integer of 0 or more; give such a seed."
        )


def _blank(labels: UInt8) -> _Canvas:
    """Start a slice of resin on its labels (H, W), which are 0."""
    return _Canvas(
        grey=np.full(labels.shape, _RESIN_GREY, np.float32),
        labels=labels,
        # Resin has no room for organelles; minus infinity also tells the camera where resin is.
        room=np.full(labels.shape, -np.inf, np.float32),
        er=np.full(labels.shape, np.inf, np.float32),
        rough=np.full(labels.shape, 0.0, np.float32),
    )


def _box_around(points: Floats, margin: float, canvas: _Canvas, shift: Floats) -> _Box:
    """Find the part of the slice that holds points (N, 2) and a margin around them."""
    # Two pixels more at the end: one since a slice's stop is exclusive, one for the rounding.
    first = np.clip(points.min(axis=0) - margin + shift, 0, canvas.grey.shape).astype(int)
    last = np.clip(points.max(axis=0) + margin + shift + 2, 0, canvas.grey.shape).astype(int)
    y = np.arange(first[0], last[0], dtype=np.float32)[:, None] - np.float32(shift[0])
    x = np.arange(first[1], last[1], dtype=np.float32)[None] - np.float32(shift[1])
    return (slice(first[0], last[0]), slice(first[1], last[1])), y, x


def _stage(depth: int, size: int, rng: Generator) -> tuple[Floats, Floats]:
    """Draw where the slices lie, in pixels: heights (Z,) and shifts (Z, 2) y, x of the stage.

    The ion beam mills slices of uneven thickness, and the stage drifts between two of them.
    """
    steps = np.clip(rng.normal(1.0, 0.15, depth), 0.6, 1.4)
    # The first slice lies at height 0, and steps lead to the others.
    steps[0] = 0.0
    heights = np.cumsum(steps) * Z_STEP * (depth - 1) / max(steps.sum(), 1.0)
    # A larger shift would bring the cell to the edge of the slice.
    limit = min(2.5, size / 40.0)
    shifts = np.stack([slow_drift(depth, 0.35, 0.3, rng) for _ in range(2)], axis=1)
    return heights.astype(np.float32), np.clip(shifts, -limit, limit).astype(np.float32)


def _draw_cell(canvas: _Canvas, cell: Cell, z: float, shift: Floats) -> None:
    """Draw the membrane and the cytoplasm, and open the room for organelles."""
    centre = np.array([cell.centre], np.float32)
    part, y, x = _box_around(centre, 1.1 * cell.axes[0] + 2.0, canvas, shift)
    y = y - np.float32(cell.centre[0])
    x = x - np.float32(cell.centre[1])
    # Positive outside the outline.
    excess = np.hypot(y, x) - cell.outline(np.arctan2(y, x), z)
    # Along the radius, the excess grows faster than the distance to the outline where that is
    # oblique. The slope corrects for it; it is near 1 at the outline, but large at the centre.
    slope = np.hypot(*np.gradient(excess))
    depth = -excess / np.clip(slope, 0.5, 2.0)
    inside = depth > 0
    canvas.labels[part][inside & (depth < cell.membrane)] = MEMBRANE
    depths = (*_MEMBRANE_DEPTHS, 1.1)
    grey = np.interp(depth / cell.membrane, depths, (*_MEMBRANE_GREYS, _CYTOPLASM_GREY))
    canvas.grey[part][inside] = grey[inside]
    rough = np.where(depth < cell.membrane, _ROUGHNESS[MEMBRANE], 1.0)
    canvas.rough[part][inside] = rough[inside]
    canvas.room[part][inside] = (depth - cell.membrane)[inside]


def _draw_organelle(canvas: _Canvas, organelle: Organelle, z: float, shift: Floats) -> None:
    """Draw an organelle where it keeps `GAP` from other classes; ER fuses with ER."""
    margin = organelle.radius + GAP
    # Points further away in z cannot reach this slice.
    points = organelle.points[np.abs(organelle.points[:, 0] - z) < margin]
    if not len(points):
        return
    part, y, x = _box_around(points[:, 1:], margin, canvas, shift)
    # Squared distance to the nearest point, one point at a time: all at once would need their
    # number times the memory.
    squared = np.full(canvas.grey[part].shape, np.inf, np.float32)
    for height, row, column in points:
        np.minimum(squared, (y - row) ** 2 + ((x - column) ** 2 + (height - z) ** 2), out=squared)
    room = canvas.room[part]
    # Signed distance to the surface, positive outside.
    outside = np.maximum(np.sqrt(squared) - organelle.radius, GAP - room)
    # Unlabelled objects keep off the ER too; ER may fuse with ER.
    if organelle.label == BACKGROUND:
        outside = np.maximum(outside, GAP - canvas.er[part])
    within = outside < 0
    # ER has a map of its own, so that later ER is not kept away from it.
    surface = canvas.er[part] if organelle.label == ER else room
    np.minimum(surface, outside, out=surface)
    grey = np.asarray(np.interp(-surface, *organelle.profile), np.float32)
    if organelle.label == MITOCHONDRION:
        grey = _with_cristae(grey, -outside, organelle, (z, y, x))
    canvas.grey[part][within] = grey[within]
    canvas.rough[part][within] = _ROUGHNESS[organelle.label]
    canvas.labels[part][within] = organelle.label


def _with_cristae(
    grey: Floats, depth: Floats, organelle: Organelle, position: tuple[float, Floats, Floats]
) -> Floats:
    """Darken lamellae inside the inner membrane; each is broken at places of its own."""
    z, y, x = position
    along = organelle.lamella[1] * y + organelle.lamella[2] * x + organelle.lamella[0] * z
    across = organelle.lamella[1] * x - organelle.lamella[2] * y
    # Sines of unrelated periods bend the lamellae, so that no two mitochondria look alike.
    bent = (
        along
        + 1.8 * np.sin(across / 6.0 + organelle.phase)
        + 1.5 * np.sin(along / 5.3 + across / 9.0)
    )
    # A crista about every 8 pixels.
    turns = bent / 8.0 + organelle.phase
    number = np.round(turns)
    strength = 0.75 + 0.25 * np.sin(4.1 * number)
    ridge = np.clip(2.4 * np.cos(2.0 * np.pi * turns) - 0.9, 0.0, 1.0) * strength
    gate = np.clip(2.5 * np.sin(across / (5.5 + np.sin(number)) + 2.4 * number) + 1.6, 0.0, 1.0)
    # Cristae end at the inner membrane, 3 pixels deep.
    inner = np.clip(depth - 3.0, 0.0, 1.0)
    return np.asarray(grey + (_CRISTA_GREY - grey) * ridge * gate * inner, np.float32)


def _draw_grain(canvas: _Canvas, field: Floats) -> None:
    """Add the grain of the cytosol and the ribosomes, dark dots where the field is high."""
    # The ER of many cells is rough: it bears ribosomes.
    near = (canvas.er > 0.0) & (canvas.er < 5.0) & (canvas.room > GAP)
    dots = np.clip(field - np.where(near, np.float32(0.2), np.float32(0.9)), 0.0, 2.5)
    grain = np.float32(_GRAIN) * field + np.float32(_RIBOSOME) * dots
    canvas.grey[...] -= canvas.rough * grain
