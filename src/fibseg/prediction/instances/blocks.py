"""Objects of annotated slices that are in memory: numbers over blocks of consecutive slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fibseg.arrays import Ints, Place, UInt8, consecutive_places
from fibseg.machine import Compute
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from fibseg.prediction.instances.linking import linked_slices
from fibseg.prediction.instances.slices import Maps, slice_objects
from fibseg.prediction.labeller import scores_with_maps
from fibseg.prediction.slices import autocast, probabilities, windowed_network
from fibseg.prediction.windows import Windows
from fibseg.scores.slabs import Numbers


def slice_maps(
    model: TrainedModel, channels: Sequence[UInt8], windows: Windows, compute: Compute
) -> list[Maps] | None:
    """Compute the maps (M, H, W) of slices (C, H, W), which are cut as in `predict_slices`.

    None where the model has no head.
    """
    if model.objects is None or model.objects.head == "none":
        return None
    count = len(model.class_names)
    network = scores_with_maps(model, compute.device)
    scoring = probabilities(network, count) if windows.kind == "blend" else network
    with windowed_network(model, scoring, windows, compute) as windowed, autocast(compute):
        return [windowed.scores(pixels)[count:] for pixels in channels]


def objects_in_slices(
    labels: Sequence[UInt8], maps: Sequence[Maps] | None, class_indices: Sequence[int], level: float
) -> list[Numbers]:
    """Number the objects (H, W) of each slice by itself; arguments are those of `slice_objects`."""
    return [
        slice_objects(pixels, None if maps is None else maps[k], class_indices, level)
        for k, pixels in enumerate(labels)
    ]


def linked_blocks(
    places: Sequence[Place],
    labels: Sequence[UInt8],
    objects: Sequence[Numbers],
    rules: ObjectRules,
) -> list[Ints]:
    """Number the objects (H, W) of slices over blocks of consecutive ones; no two share a number.

    Args:
        places: where the slices lie.
        labels: class indices (H, W) of each.
        objects: numbers (H, W) of the objects of each slice by itself.
        rules: how objects are linked.
    """
    linked = [np.zeros(0, np.int64)] * len(places)
    highest = 0
    for block in consecutive_places(places):
        links = linked_slices(((labels[k], objects[k]) for k in block), rules)
        for position, k in enumerate(block):
            numbers = links.numbered(position, objects[k]).astype(np.int64)
            linked[k] = np.where(numbers > 0, numbers + highest, 0)
        highest += links.count
    return linked


def objects_of_slices(
    model: TrainedModel,
    places: Sequence[Place],
    labels: Sequence[UInt8],
    maps: Sequence[Maps] | None,
) -> list[Ints] | None:
    """Number the objects (H, W) of slices as a prediction does; None without rules of objects.

    Args:
        model: with its rules.
        places: where the slices lie.
        labels: (H, W) class indices that the model gives them.
        maps: (M, H, W) that its head gives them; None without a head.
    """
    rules = model.objects
    if rules is None:
        return None
    indices = [list(model.class_names).index(name) for name in rules.classes]
    return linked_blocks(
        places, labels, objects_in_slices(labels, maps, indices, rules.level), rules
    )
