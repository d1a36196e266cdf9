"""A synthetic FIB-SEM stack with exact labels, for the demo and the tests; never a result.

`scene` lays out cells, and `organelles` lays out clouds of points with a radius in them (`clouds`),
so one function of `canvas` draws all organelles: the distance below the surface gives the label and
the grey level (dark border, inside). Vesicles, lysosomes and lipid droplets are drawn too, but are
background, as in many annotations. `texture` gives the grain of the cytoplasm; `camera` adds what
the microscope does.
All lengths are in pixels of the slice; one slice is about `Z_STEP` pixels thick (20 nm against
5 nm). The stack is drawn slice by slice: beyond the three results it needs the memory of a few
slices.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from fibseg.arrays import Floats, UInt8, UInt16
from fibseg.errors import FibsegError
from fibseg.phantom.camera import Camera, slow_drift
from fibseg.phantom.canvas import blank_slice, draw_cell, draw_grain, draw_organelle
from fibseg.phantom.clouds import Organelle
from fibseg.phantom.organelles import organelles_of
from fibseg.phantom.scene import MITOCHONDRION, TILE_SIDE, Z_STEP, Cell, cells, tiles
from fibseg.phantom.texture import Texture

_SMALLEST_SHAPE = (1, 32, 32)


@dataclass(frozen=True)
class Phantom:
    """A synthetic stack with its truth.

    Attributes:
        image: (Z, H, W), grey levels 0 to 255, membranes dark.
        labels: (Z, H, W); 0 background, 1 mitochondrion, 2 membrane, 3 er.
        instances: (Z, H, W); number of the mitochondrion from 1, 0 where there is none. One number
            is one object in 3-D, also where two objects touch.
    """

    image: UInt8
    labels: UInt8
    instances: UInt16


def make_phantom(shape: tuple[int, int, int], seed: int) -> tuple[UInt8, UInt8]:
    """Draw a small synthetic FIB-SEM stack and its exact labels, as `draw_phantom` does.

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
    phantom = draw_phantom(shape, seed)
    return phantom.image, phantom.labels


def draw_phantom(shape: tuple[int, int, int], seed: int, touching: int = 0) -> Phantom:
    """Draw a small synthetic FIB-SEM stack, its exact labels and its mitochondria one by one.

    Every class is present in every slice. The same arguments give the same bytes.

    Args:
        shape: (Z, H, W) in voxels, at least (1, 32, 32); a voxel is 20 x 5 x 5 nm.
        seed: 0 or more.
        touching: pairs of mitochondria that share a face, in 3-D and in slices; without them
            mitochondria keep a distance from each other in every slice.

    Returns:
        The stack and its truth.

    Raises:
        FibsegError: the shape is too small or not three integers, the seed is negative, or the
            shape has no room for so many pairs.
    """
    _check(shape, seed)
    rng = np.random.default_rng(seed)
    depth, height, width = (int(size) for size in shape)
    scene = _scene((depth, height, width), touching, rng)
    image = np.empty((depth, height, width), np.uint8)
    labels = np.zeros_like(image)
    instances = np.zeros(image.shape, np.uint16)
    # Drawn in this order, which is part of the result: the same seed gives the same bytes.
    heights, shifts = _stage(depth, min(height, width, TILE_SIDE), rng)
    camera = Camera((depth, height, width), rng)
    texture = Texture(height, width, Z_STEP, rng)
    for z in range(depth):
        canvas = blank_slice(labels[z], instances[z])
        number = 0
        for cell, organelles in scene:
            draw_cell(canvas, cell, heights[z], shifts[z])
            for organelle in organelles:
                number += organelle.label == MITOCHONDRION
                draw_organelle(
                    canvas=canvas,
                    organelle=organelle,
                    number=number,
                    z=heights[z],
                    shift=shifts[z],
                )
        draw_grain(canvas, texture.next(shifts[z]))
        image[z] = camera.expose(canvas.grey, np.isneginf(canvas.room), z)
    return Phantom(image, labels, instances)


def _scene(
    shape: tuple[int, int, int], touching: int, rng: Generator
) -> list[tuple[Cell, list[Organelle]]]:
    """Place cells and their organelles; `touching` pairs of mitochondria are spread over them."""
    count = math.prod(tiles(*shape[1:]))
    # The first cells get one pair more where the pairs do not divide evenly.
    shares = [touching // count + (k < touching % count) for k in range(count)]
    scene = [
        (cell, organelles_of(cell, shape[0], rng, pairs))
        for cell, pairs in zip(cells(*shape, rng), shares, strict=True)
    ]
    pairs = sum(organelle.touched is not None for _, of_cell in scene for organelle in of_cell)
    if pairs < touching:
        raise FibsegError(
            f"phantom has room for {pairs} of {touching} pairs of touching mitochondria; give a "
            "larger shape, another seed or fewer pairs."
        )
    return scene


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
