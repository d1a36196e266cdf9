"""All measures of numbered objects that a table may hold."""

from __future__ import annotations

import numpy as np

from fibseg.scores.bodies.boxes import LARGEST_BOX, object_masks
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.bodies.shapes import measure_shapes
from fibseg.scores.bodies.skeletons import measure_skeleton
from fibseg.scores.bodies.table import MoreMeasures
from fibseg.scores.slabs import ReadClasses


def measure_more(
    objects: NumberedObjects,
    classes: int,
    read_classes: ReadClasses,
    shape: bool,
    neighbours: bool,
) -> MoreMeasures:
    """Measure shapes and neighbours of objects, in passes over the stack.

    Args:
        objects: that are measured.
        classes: how many there are, without the background.
        read_classes: z -> (H, W) class indices.
        shape: whether sphericity, elongation and skeletons are wanted.
        neighbours: whether contacts and distances are wanted.
    """
    if not shape and not neighbours:
        return MoreMeasures()
    shapes = measure_shapes(objects, classes, read_classes)
    skeletons = None
    if shape:
        skeletons = {
            entry.number: measure_skeleton(entry.mask, objects.spacing)
            for entry in object_masks(objects)
        }
    distances = None
    if neighbours:
        # Loading numba takes a second.
        from fibseg.scores.bodies.distances import measure_distances

        distances = measure_distances(objects, classes, read_classes)
    return MoreMeasures(shapes, skeletons, distances)


def too_large(objects: NumberedObjects) -> int:
    """Count the objects whose box is too large for a skeleton and for necks."""
    sides = objects.measures.high - objects.measures.low + 1
    return int((np.prod(sides, axis=1) > LARGEST_BOX).sum())
