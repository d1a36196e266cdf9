"""Scores of the objects of annotated slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fibseg.arrays import IGNORE, Place, UInt8
from fibseg.data.volume import AnnotatedSlice
from fibseg.scores.instances import Ids, SplitMatches, component_ids, score_objects


def score_annotated_objects(
    slices: Sequence[AnnotatedSlice],
    labels: Sequence[UInt8],
    classes: Mapping[str, int],
    objects: Sequence[Ids] | None = None,
) -> SplitMatches:
    """Match the objects of predicted labels with those of annotated slices.

    Args:
        slices: with the numbers of their objects.
        labels: predicted class indices (H, W) of each slice.
        classes: name and index of each class that has objects.
        objects: predicted number (H, W) of each pixel's object, one number in all slices of an
            object; None for the connected components of the predicted labels, 26-connected over
            consecutive slices.

    Raises:
        ValueError: a slice has no numbers of objects.
    """
    places = [Place(entry.volume, entry.z) for entry in slices]
    truths: dict[str, list[Ids]] = {}
    predictions: dict[str, list[Ids]] = {}
    for name, index in classes.items():
        truths[name] = [_true_ids(*pair, index) for pair in zip(slices, labels, strict=True)]
        # What one side does not know, neither is judged by: no component continues there.
        masks = [
            (ids >= 0) & (predicted == index)
            for ids, predicted in zip(truths[name], labels, strict=True)
        ]
        predictions[name] = (
            component_ids(places, masks)
            if objects is None
            else [np.where(mask, ids, 0) for mask, ids in zip(masks, objects, strict=True)]
        )
    return score_objects(places, truths, predictions)


def _true_ids(entry: AnnotatedSlice, predicted: UInt8, index: int) -> Ids:
    """Give the ids (H, W) of the true objects of a class; -1 where they are not known."""
    if entry.objects is None:
        raise ValueError(f"slice {entry.z} has no numbers of objects")
    is_class = entry.labels == index
    # A pixel of the class whose object has no id is negative already.
    ids = np.where(is_class, entry.objects, 0)
    return np.where((entry.labels == IGNORE) | (predicted == IGNORE), -1, ids)
