"""Objects of single slices: seeds where a head's map is high, grown over the class by watershed.

The map says where the interior of an object is (`fibseg.models.objects`). Objects cover exactly
the pixels of their class, so that labels and objects never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.arrays import Mask, UInt8
from fibseg.errors import FibsegError
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from fibseg.scores.slabs import Numbers

Maps = NDArray[np.float32]
"""(M, H, W) chance that a pixel is in the interior of an object, of each class that has objects."""

_EIGHT = np.ones((3, 3), bool)
"""Pixels that touch by a corner are neighbours; seeds have four, to part what hardly touches."""


def common_rules(models: Sequence[TrainedModel]) -> ObjectRules:
    """Give the rules of objects of all models, with the medians of their numbers.

    Raises:
        FibsegError: no class has objects, or the models have other heads or classes.
    """
    rules = [model.objects for model in models]
    first = rules[0]
    if first is None:
        raise FibsegError(
            "instances: no class of this model has objects; its data description says so by "
            "instances: true beside the label of a class. For connected components of its labels, "
            "give the output to fibseg measure --instances."
        )
    known = [entry for entry in rules if entry is not None]
    kinds = {(entry.head, tuple(entry.classes)) for entry in known}
    if len(kinds) > 1 or len(known) < len(rules):
        raise FibsegError(
            "instances: these runs tell objects apart in other ways (model.head, or classes of "
            "instances: true); name one of them."
        )
    return ObjectRules(
        head=first.head,
        classes=list(first.classes),
        level=float(np.median([entry.level for entry in known])),
        overlap=float(np.median([entry.overlap for entry in known])),
        smallest=int(np.median([entry.smallest for entry in known])),
        slices=first.slices,
    )


def slice_objects(
    labels: UInt8, maps: Maps | None, class_indices: Sequence[int], level: float
) -> Numbers:
    """Number the objects of a slice from 1, in the order of their first pixels.

    Args:
        labels: (H, W) class indices.
        maps: of the head; None for connected components.
        class_indices: the M classes that have objects.
        level: of the map, above which a seed lies.

    Returns:
        (H, W) numbers, 0 where there is no object.
    """
    objects = np.zeros(labels.shape, np.uint32)
    for row, index in enumerate(class_indices):
        mask = labels == index
        if not mask.any():
            continue
        components, count = ndimage.label(mask, structure=_EIGHT)
        if maps is not None:
            components = _grown(components, count, maps[row], mask=mask, level=level)
        base = int(objects.max())
        objects[mask] = components[mask] + base
    return _in_order(objects)


def _grown(
    components: NDArray[np.int32],
    count: int,
    interior: NDArray[np.float32],
    mask: Mask,
    level: float,
) -> NDArray[np.int32]:
    """Divide components (H, W) that hold several seeds among these."""
    from skimage.segmentation import watershed

    seeds, seed_count = ndimage.label(mask & (interior > level))
    if seed_count < 2:
        return components
    # Seeds lie in one component each; all of a component's seeds have neighbouring positions here.
    owner = ndimage.maximum(components, seeds, np.arange(1, seed_count + 1)).astype(np.int64)
    seeds_of = np.bincount(owner, minlength=count + 1)
    grown = components.copy()
    last = count
    for number, box in enumerate(ndimage.find_objects(components), 1):
        # One seed, or none where the head is nowhere sure: the component is one object.
        if seeds_of[number] < 2:
            continue
        inside = components[box] == number
        markers = np.where(inside, seeds[box], 0)
        parts = watershed(  # type: ignore[no-untyped-call]
            -interior[box], markers, connectivity=2, mask=inside
        )
        grown[box][inside] = parts[inside] + last
        last += seed_count
    return grown


def _in_order(objects: Numbers) -> Numbers:
    """Number objects (H, W) from 1 without gaps, in the order of their first pixels."""
    values, first, inverse = np.unique(objects, return_index=True, return_inverse=True)
    first = np.where(values == 0, -1, first)
    rank = np.empty(len(values), np.uint32)
    rank[np.argsort(first)] = np.arange(len(values))
    # Without background the first object has rank 0.
    ordered = rank[inverse] + np.uint32(values[0] != 0)
    return np.asarray(ordered.reshape(objects.shape), np.uint32)
