"""Scores of the objects of a list of slices, in slices and over the stacks that they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import cc3d
import numpy as np

from fibseg.arrays import Mask, Place, consecutive_places
from fibseg.scores.instances.contingency import Ids
from fibseg.scores.instances.counting import ObjectCounter
from fibseg.scores.instances.matching import MatchCounts


class SliceMatches(TypedDict):
    """Objects of one slice: its volume, its z in the image, and class -> counts."""

    volume: int
    slice: int
    classes: dict[str, MatchCounts]


class BlockMatches(TypedDict):
    """Objects of consecutive slices: volume, first slice and the one after the last, counts."""

    volume: int
    start: int
    stop: int
    classes: dict[str, MatchCounts]


class SplitMatches(TypedDict):
    """Objects of a split: in 2-D, an entry per slice, and in 3-D, one per block of slices."""

    slices: list[SliceMatches]
    blocks: list[BlockMatches]


def score_objects(
    places: Sequence[Place],
    truths: Mapping[str, Sequence[Ids]],
    predictions: Mapping[str, Sequence[Ids]],
) -> SplitMatches:
    """Match predicted objects with true ones.

    Args:
        places: where the S slices lie. Slices with a gap between them are in different stacks, so
            that an object that leaves them is cut there.
        truths: class -> ids (H, W) of the true objects of each slice, 0 for none, negative where
            the objects are not known. An id is one object in 3-D.
        predictions: class -> ids of the predicted objects, of the same classes.

    Returns:
        Counts by class, of slices in the order of `places`.
    """
    in_slices: list[dict[str, MatchCounts]] = [{} for _ in places]
    blocks = []
    for block in consecutive_places(places):
        in_block = {}
        for name, ids in truths.items():
            counter = ObjectCounter()
            for k in block:
                counter.add(ids[k], predictions[name][k])
            in_block[name] = counter.in_stack
            for k, counts in zip(block, counter.in_slices, strict=True):
                in_slices[k][name] = counts
        first = places[block[0]]
        stop = places[block[-1]].z + 1
        blocks.append(BlockMatches(volume=first.volume, start=first.z, stop=stop, classes=in_block))
    slices = [
        SliceMatches(volume=place.volume, slice=place.z, classes=classes)
        for place, classes in zip(places, in_slices, strict=True)
    ]
    return SplitMatches(slices=slices, blocks=blocks)


def component_ids(places: Sequence[Place], masks: Sequence[Mask]) -> list[Ids]:
    """Number the 26-connected components of masks (H, W) over consecutive slices.

    No two components of all slices share a number.
    """
    numbers: list[Ids] = [np.zeros(0, np.int64)] * len(places)
    highest = 0
    for block in consecutive_places(places):
        stack = np.stack([masks[k] for k in block])
        components = cc3d.connected_components(stack.astype(np.uint8), connectivity=26)
        for k, of_slice in zip(block, components.astype(np.int64), strict=True):
            numbers[k] = np.where(of_slice > 0, of_slice + highest, 0)
        highest += int(components.max(initial=0))
    return numbers
