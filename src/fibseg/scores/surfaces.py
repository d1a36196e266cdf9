"""Surface areas of numbered objects, by marching cubes between two slices at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from fibseg.arrays import Floats, Ints
from fibseg.scores.slabs import Numbers

_CUBE_CORNERS = [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
"""Corners of a cube between voxel centres; corner k is bit k of the number of a pattern."""


def cube_areas(spacing: tuple[float, float, float]) -> Floats:
    """Compute the mesh area (256,) of marching cubes in a cube, for each pattern of its corners.

    The cube lies between eight voxel centres; `spacing` is the size of a voxel (z, y, x) in nm. A
    cube's part of the mesh depends on its own corners alone, so the areas can be looked up. The
    mesh lies half way between inside and outside (Lewiner et al., Journal of Graphics Tools 2003,
    doi 10.1080/10867651.2003.10487582).
    """
    # Imported here: only the measurement of objects needs scikit-image.
    from skimage.measure import marching_cubes, mesh_surface_area

    areas = np.zeros(256)
    # Patterns 0 and 255, all corners outside or all inside, hold no surface.
    for pattern in range(1, 255):
        cube = np.array([pattern >> k & 1 for k in range(8)], np.float32).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(cube, 0.5, spacing=spacing)  # type: ignore[no-untyped-call]
        areas[pattern] = mesh_surface_area(vertices, faces)  # type: ignore[no-untyped-call]
    return areas


def measure_surfaces(
    slices: Iterable[Numbers], count: int, spacing: tuple[float, float, float]
) -> Floats:
    """Measure the surface (N,) of each object in nm^2, closed at the border of the stack.

    Args:
        slices: numbers of objects (H, W), slice after slice.
        count: N.
        spacing: size of a voxel (z, y, x) in nm.
    """
    areas = cube_areas(spacing)
    # Entry 0 collects nothing; it keeps objects numbered from 1.
    surface = np.zeros(count + 1)
    # Every cube between voxel centres belongs to one pair of slices, so that areas add up.
    for above, below in pairwise(with_margin(slices)):
        add_surfaces(surface, np.stack([above, below]), areas)
    return surface[1:]


def with_margin(slices: Iterable[Numbers]) -> Iterator[Ints]:
    """Give slices (H, W) with a margin of 0 around the stack, (H + 2, W + 2), two slices more."""
    last: Ints | None = None
    for numbers in slices:
        if last is None:
            yield np.zeros((numbers.shape[0] + 2, numbers.shape[1] + 2), np.int64)
        last = np.pad(numbers.astype(np.int64), 1)
        yield last
    if last is not None:
        yield np.zeros_like(last)


def add_surfaces(surface: Floats, pair: Ints, areas: Floats) -> None:
    """Add to each object's area the part of its mesh that lies between two slices.

    `surface` (N + 1,) in nm^2 is changed; `pair` (2, H, W) holds the object of each voxel, 0 for
    none; `areas` are those of `cube_areas`.
    """
    height = pair.shape[1] - 1
    width = pair.shape[2] - 1
    views = [pair[z, y : y + height, x : x + width] for z, y, x in _CUBE_CORNERS]
    # Cubes with eight equal corners hold no surface; most cubes are such.
    mixed = np.logical_or.reduce([view != views[0] for view in views[1:]])
    corners = np.stack([view[mixed] for view in views])
    for k, numbers in enumerate(corners):
        # Each object of a cube counts once: at the first corner that belongs to it.
        is_first = (numbers > 0) & ~(corners[:k] == numbers).any(axis=0)
        # Inside is the object alone: every other object is outside for this mesh, as background is.
        cubes = corners[:, is_first]
        patterns = (1 << np.arange(8)) @ (cubes == cubes[k])
        surface += np.bincount(cubes[k], areas[patterns], minlength=len(surface))
