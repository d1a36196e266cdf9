"""Distance of numbered objects to the nearest voxel of each class, exact, with a slice in memory.

A voxel's nearest neighbour of a class lies above or below it, or in its slice. Going down the
stack, each column (y, x) keeps its distance to the last voxel of the class; a distance transform in
the slice, which begins with these, gives the distance to all voxels above (Felzenszwalb and
Huttenlocher, Theory of Computing 2012, doi:10.4086/toc.2012.v008a019). Going up gives those below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fibseg.arrays import Floats
from fibseg.compiled import compiled
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.slabs import ReadClasses


def measure_distances(objects: NumberedObjects, classes: int, read_classes: ReadClasses) -> Floats:
    """Measure the distance of N objects to K classes, (N, K), in nm.

    Distances are those between the centres of the nearest voxels, so that things that touch are a
    voxel apart. An object has none (NaN) to its own class, and to one that is nowhere.

    Args:
        objects: that are measured.
        classes: K, without the background.
        read_classes: z -> (H, W) class indices.
    """
    nearest = np.full((objects.count + 1, classes + 1), np.inf)
    depth = objects.shape[0]
    # Up and down, since a slice sees only one side at a time.
    _pass(objects, range(depth), read_classes, nearest)
    _pass(objects, reversed(range(depth)), read_classes, nearest)
    distances = np.asarray(np.sqrt(nearest[1:, 1:]), np.float64)
    distances[np.isinf(distances)] = np.nan
    rows = np.arange(objects.count)
    distances[rows, objects.measures.class_index - 1] = np.nan
    return distances


def _pass(
    objects: NumberedObjects, order: Iterable[int], read_classes: ReadClasses, nearest: Floats
) -> None:
    """Lower the squared distances `nearest` (N + 1, K + 1) to voxels of the slices before."""
    step, *sides = objects.spacing
    # What lies in an object is of its class, whatever the labels say.
    of_object = np.concatenate([[0], objects.measures.class_index])
    gone = np.full((nearest.shape[1], *objects.shape[1:]), np.inf, np.float32)
    for z in order:
        numbers = objects.read(z)
        classes = np.where(numbers > 0, of_object[numbers], read_classes(z))
        gone += step
        inside = np.flatnonzero(numbers)
        of_voxel = numbers.ravel()[inside]
        for index in range(1, nearest.shape[1]):
            gone[index][classes == index] = 0.0
            if not len(inside) or np.isinf(gone[index].min()):
                continue
            squared = _planar(gone[index].astype(np.float64) ** 2, *sides)
            np.minimum.at(nearest[:, index], of_voxel, squared.ravel()[inside])


def _planar(squared: Floats, height: float, width: float) -> Floats:
    """Add distances within a slice to squared ones (H, W): the least sum over all pixels."""
    lowered = np.ascontiguousarray(squared)
    _lower_rows(lowered, width)
    lowered = np.ascontiguousarray(lowered.T)
    _lower_rows(lowered, height)
    return np.asarray(lowered.T)


@compiled
def _lower_rows(values: Any, side: float) -> None:
    """Replace each value (H, W) by the least of v[q] + (side * (p - q))^2 over its row."""
    rows, count = values.shape
    vertex = np.zeros(count, np.int64)
    begins = np.zeros(count + 1)
    row = np.zeros(count)
    scale = side * side
    for r in range(rows):
        row[:] = values[r]
        last = -1
        for q in range(count):
            # No parabola stands where there is nothing.
            if np.isinf(row[q]):
                continue
            start = -np.inf
            while last >= 0:
                v = vertex[last]
                start = (row[q] - row[v] + scale * (q * q - v * v)) / (2.0 * scale * (q - v))
                if start > begins[last]:
                    break
                last -= 1
            if last < 0:
                start = -np.inf
            last += 1
            vertex[last] = q
            begins[last] = start
        if last < 0:
            continue
        k = 0
        for p in range(count):
            while k < last and begins[k + 1] < p:
                k += 1
            v = vertex[k]
            values[r, p] = row[v] + scale * (p - v) * (p - v)
