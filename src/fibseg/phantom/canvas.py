"""One slice of the phantom in the making: cells, organelles and grain as grey levels and labels.

All lengths are in pixels of the slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Floats, UInt8, UInt16
from fibseg.phantom.clouds import GAP, Organelle
from fibseg.phantom.scene import BACKGROUND, ER, MEMBRANE, MITOCHONDRION, Cell

_Box = tuple[tuple[slice, slice], Floats, Floats]
"""A part of a slice, with its y (h, 1) and x (1, w) in the cell's coordinates."""

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
class DrawnSlice:
    """One slice in the making.

    Attributes:
        grey: (H, W), grey levels without noise.
        labels: (H, W), label values.
        room: (H, W), pixels to the nearest membrane or mitochondrion; negative in them and in
            resin.
        er: (H, W), pixels to the ER drawn so far; negative in it.
        rough: (H, W), share of the cytosol's grain.
        instances: (H, W), number of the mitochondrion, 0 where there is none.
    """

    grey: Floats
    labels: UInt8
    room: Floats
    er: Floats
    rough: Floats
    instances: UInt16


def blank_slice(labels: UInt8, instances: UInt16) -> DrawnSlice:
    """Start a slice of resin on its labels and instances (H, W), which are 0."""
    return DrawnSlice(
        grey=np.full(labels.shape, _RESIN_GREY, np.float32),
        labels=labels,
        # Resin has no room for organelles; minus infinity also tells the camera where resin is.
        room=np.full(labels.shape, -np.inf, np.float32),
        er=np.full(labels.shape, np.inf, np.float32),
        rough=np.full(labels.shape, 0.0, np.float32),
        instances=instances,
    )


def _box_around(points: Floats, margin: float, canvas: DrawnSlice, shift: Floats) -> _Box:
    """Find the part of the slice that holds points (N, 2) and a margin around them."""
    # Two pixels more at the end: one since a slice's stop is exclusive, one for the rounding.
    first = np.clip(points.min(axis=0) - margin + shift, 0, canvas.grey.shape).astype(int)
    last = np.clip(points.max(axis=0) + margin + shift + 2, 0, canvas.grey.shape).astype(int)
    y = np.arange(first[0], last[0], dtype=np.float32)[:, None] - np.float32(shift[0])
    x = np.arange(first[1], last[1], dtype=np.float32)[None] - np.float32(shift[1])
    return (slice(first[0], last[0]), slice(first[1], last[1])), y, x


def draw_cell(canvas: DrawnSlice, cell: Cell, z: float, shift: Floats) -> None:
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


def draw_organelle(
    canvas: DrawnSlice, organelle: Organelle, number: int, z: float, shift: Floats
) -> None:
    """Draw an organelle where it keeps `GAP` from other classes; ER fuses with ER.

    Args:
        canvas: drawn on.
        organelle: that is drawn, up to the surface of the one that it touches, if there is one.
        number: of a mitochondrion in the instances.
        z: height of the slice in pixels.
        shift: (2,) y, x of the stage in pixels.
    """
    margin = organelle.radius + GAP
    # Points further away in z cannot reach this slice.
    points = organelle.points[np.abs(organelle.points[:, 0] - z) < margin]
    if not len(points):
        return
    part, y, x = _box_around(points[:, 1:], margin, canvas, shift)
    room = canvas.room[part]
    # Signed distance to the surface, positive outside.
    distance = _distance_outside(organelle, (z, y, x))
    outside = np.maximum(distance, GAP - room)
    if organelle.touched is not None:
        # Up to the touched one's surface, but not nearer to anything else than `GAP`.
        touched = _distance_outside(organelle.touched, (z, y, x))
        outside = np.where(room < touched - 0.01, outside, np.maximum(distance, -touched))
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
    if organelle.label == MITOCHONDRION:
        canvas.instances[part][within] = number


def _distance_outside(organelle: Organelle, position: tuple[float, Floats, Floats]) -> Floats:
    """Compute the signed distance (h, w) to an organelle's surface, positive outside.

    It is exact up to `GAP` outside the surface, and larger than that further away.
    """
    z, y, x = position
    points = organelle.points[np.abs(organelle.points[:, 0] - z) < organelle.radius + GAP]
    # Squared distance to the nearest point, one point at a time: all at once would need their
    # number times the memory.
    squared = np.full((len(y), x.shape[1]), np.inf, np.float32)
    for height, row, column in points:
        np.minimum(squared, (y - row) ** 2 + ((x - column) ** 2 + (height - z) ** 2), out=squared)
    return np.asarray(np.sqrt(squared) - organelle.radius)


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


def draw_grain(canvas: DrawnSlice, field: Floats) -> None:
    """Add the grain of the cytosol and the ribosomes, dark dots where the field is high."""
    # The ER of many cells is rough: it bears ribosomes.
    near = (canvas.er > 0.0) & (canvas.er < 5.0) & (canvas.room > GAP)
    dots = np.clip(field - np.where(near, np.float32(0.2), np.float32(0.9)), 0.0, 2.5)
    grain = np.float32(_GRAIN) * field + np.float32(_RIBOSOME) * dots
    canvas.grey[...] -= canvas.rough * grain
