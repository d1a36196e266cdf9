"""Surface without steps, sphericity, elongation and contact of numbered objects, in one pass.

Marching cubes follow the steps between voxels, so that the surface of a ball comes out up to a
fifth too large. The surface here is that of the Crofton formula: lines in 13 directions count how
often they enter and leave an object (Lehmann and Legland, The Insight Journal 2012; Ohser and
Muecklich, Statistical Analysis of Microstructures, 2000). It is right in the mean over
orientations, and off by some percent for faces along the axes. Contact is counted by the same
lines, so that an object that another one encloses has its whole surface in contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from fibseg.arrays import Floats, Ints
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.slabs import ReadClasses
from fibseg.scores.surfaces import with_margin

_CORNERS = [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]

_NO_OBJECT = 0


@dataclass(frozen=True)
class ObjectShapes:
    """Columns of N objects; areas in nm^2, or in faces of voxels where their size is unknown.

    Attributes:
        surface: (N,) by the Crofton formula, closed at the border of the stack.
        contact: (N, K) of it, the part that touches voxels of each class, from class 1. For the
            class of an object itself, that which touches its other objects.
        axes: (N, 3) standard deviations of the voxels' positions along the principal axes, in nm,
            the largest first.
    """

    surface: Floats
    contact: Floats
    axes: Floats

    def sphericity(self, volume: Floats) -> Floats:
        """Compute surface of a ball of the same volume over surface, (N,): 1 for a ball.

        Wadell, The Journal of Geology 1935, doi:10.1086/624298; `volume` (N,) is in nm^3.
        """
        return np.asarray(np.cbrt(36.0 * np.pi * volume**2) / self.surface)

    @property
    def elongation(self) -> Floats:
        """Largest over smallest principal axis, (N,): 1 for a ball."""
        return np.asarray(self.axes[:, 0] / self.axes[:, 2])


def measure_shapes(
    objects: NumberedObjects, classes: int, read_classes: ReadClasses | None = None
) -> ObjectShapes:
    """Measure surfaces, contacts and principal axes of objects.

    Args:
        objects: that are measured.
        classes: K, without the background.
        read_classes: z -> (H, W) class indices of what objects may touch; without them, other
            objects alone.
    """
    sums = _Sums(objects, classes)
    of_object = np.concatenate([[0], objects.measures.class_index])
    pairs = _pair_areas(objects.spacing)
    depth, height, width = objects.shape
    last_classes = np.zeros((height + 2, width + 2), np.int64)
    slices = with_margin(objects.instances())
    for z, (above, below) in enumerate(pairwise(slices)):
        # `below` is slice z of the stack; the slice after the last one is a margin.
        next_classes = of_object[below]
        if z < depth:
            sums.add_moments(z, below[1:-1, 1:-1])
            if read_classes is not None:
                others = np.pad(read_classes(z).astype(np.int64), 1)
                # The object decides where classes and ids disagree.
                next_classes = np.where(below > 0, next_classes, others)
        sums.add_faces(np.stack([above, below]), np.stack([last_classes, next_classes]), pairs)
        last_classes = next_classes
    return ObjectShapes(sums.surface[1:], sums.contact[1:, 1:], sums.axes())


class _Sums:
    """What is added up over the stack; row 0 stands for no object."""

    def __init__(self, objects: NumberedObjects, classes: int):
        self._spacing = np.array(objects.spacing)
        # Positions from the middle of each object: of far ones the squares would lose digits.
        self._centre = np.concatenate([np.zeros((1, 3)), objects.measures.centre])
        self._voxels = objects.measures.voxels
        self._moments = np.zeros((objects.count + 1, 3, 3))
        self.surface = np.zeros(objects.count + 1)
        self.contact = np.zeros((objects.count + 1, classes + 1))

    def add_moments(self, z: int, numbers: Ints) -> None:
        """Add the products of positions of a slice (H, W)."""
        y, x = np.nonzero(numbers)
        of_voxel = numbers[y, x]
        positions = np.stack([np.full(len(y), z), y, x], axis=1) - self._centre[of_voxel]
        positions = positions * self._spacing
        # The objects of the slice alone: a stack may have a hundred thousand others.
        here, of_voxel = np.unique(of_voxel, return_inverse=True)
        for a in range(3):
            for b in range(a, 3):
                products = positions[:, a] * positions[:, b]
                self._moments[here, a, b] += np.bincount(of_voxel, products, minlength=len(here))

    def add_faces(self, numbers: Ints, classes: Ints, pairs: Floats) -> None:
        """Add faces between the voxels of each cube of two slices (2, H, W)."""
        height = numbers.shape[1] - 1
        width = numbers.shape[2] - 1
        parts = [(z, slice(y, y + height), slice(x, x + width)) for z, y, x in _CORNERS]
        views = [numbers[part] for part in parts]
        # Cubes with eight equal corners hold no face; most cubes are such.
        mixed = np.logical_or.reduce([view != views[0] for view in views[1:]])
        corners = np.stack([view[mixed] for view in views])
        kinds = np.stack([classes[part][mixed] for part in parts])
        columns = self.contact.shape[1]
        here, local = np.unique(corners, return_inverse=True)
        local = local.reshape(corners.shape)
        count = len(here)
        surface = np.zeros(count)
        contact = np.zeros((count, columns))
        for first, second in combinations(range(len(_CORNERS)), 2):
            differ = corners[first] != corners[second]
            for inside, outside in ((first, second), (second, first)):
                chosen = differ & (corners[inside] != _NO_OBJECT)
                of_face = local[inside][chosen]
                area = pairs[first, second]
                surface += area * np.bincount(of_face, minlength=count)
                touched = of_face * columns + kinds[outside][chosen]
                hits = np.bincount(touched, minlength=count * columns)
                contact += area * hits.reshape(count, columns)
        is_object = here != _NO_OBJECT
        self.surface[here[is_object]] += surface[is_object]
        self.contact[here[is_object]] += contact[is_object]

    def axes(self) -> Floats:
        """Compute the principal axes (N, 3)."""
        moments = self._moments[1:]
        upper = np.triu(np.ones((3, 3), bool), 1)
        symmetric = moments + np.where(upper, moments, 0).swapaxes(1, 2)
        covariance = symmetric / np.maximum(self._voxels, 1)[:, None, None]
        # A voxel is a box and no point: without this, an object of one slice would be infinitely
        # elongated.
        covariance = covariance + np.diag(self._spacing**2 / 12.0)
        return np.asarray(np.sqrt(np.linalg.eigvalsh(covariance)[:, ::-1]))


def _pair_areas(spacing: tuple[float, float, float]) -> Floats:
    """Compute the area (8, 8) that a change between two corners of a cube stands for.

    A body of surface S is met by lines of direction k, one per area a_k, in N_k changes, and S is
    the mean over directions of 2 a_k N_k. Directions are weighed by the part of the sphere that is
    nearest to them.
    """
    # Imported here: only measures need it.
    from scipy.spatial import SphericalVoronoi

    steps = np.array(
        [
            (z, y, x)
            for z in (-1, 0, 1)
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
            if (z, y, x) != (0, 0, 0)
        ]
    )
    vectors = steps * np.array(spacing)
    lengths = np.linalg.norm(vectors, axis=1)
    shares = SphericalVoronoi(vectors / lengths[:, None]).calculate_areas() / (4.0 * np.pi)
    share_of = {tuple(step): share for step, share in zip(steps.tolist(), shares, strict=True)}
    areas = np.zeros((8, 8))
    for first, second in combinations(range(8), 2):
        step = np.subtract(_CORNERS[second], _CORNERS[first])
        length = float(np.linalg.norm(step * np.array(spacing)))
        # A direction and its opposite are one.
        share = 2.0 * share_of[tuple(step.tolist())]
        # The two corners lie in four cubes along an axis, in two across a face, in one across all.
        cubes = 2 ** (3 - np.count_nonzero(step))
        areas[first, second] = 2.0 * share * float(np.prod(spacing)) / length / cubes
    return areas
