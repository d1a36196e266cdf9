"""Scores of the objects of one stack against those of another; memory holds a slab of slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import IGNORE, Pixels, Place, UInt8, consecutive_places
from fibseg.data.description import DataDescription, check_description, class_names
from fibseg.data.scoring.stacks import ClassSlices, StackPair, check_comparable
from fibseg.errors import FibsegError
from fibseg.scores.instances import Ids, MatchCounts, ObjectCounter, pooled_matches
from fibseg.scores.pieces import stitch
from fibseg.scores.slabs import ClassSlabs, Numbers, ReadClasses, slab_depth

_Both = tuple[Ids, Ids]
"""Ids (H, W) of true and of predicted objects."""


@dataclass(frozen=True)
class ObjectScore:
    """The objects of one class.

    Attributes:
        name: of the class.
        in_slices: counts of 2-D objects, of all slices together.
        in_stack: counts of 3-D objects, of all blocks of consecutive slices together.
    """

    name: str
    in_slices: MatchCounts
    in_stack: MatchCounts


def score_ids(pair: StackPair) -> list[ObjectScore]:
    """Score objects where both stacks hold ids: 0 is no object, negative is unknown.

    Raises:
        FibsegError: the truth holds no object in these slices.
    """

    def read_block(block: Sequence[int]) -> Iterator[dict[str, _Both]]:
        for z in block:
            truth = pair.labels.read(z)
            prediction = pair.prediction.read(pair.slice_of[z])
            yield {"object": (_inside(truth, pair, z), _inside(prediction, pair, z))}

    return _with_truth(_score(pair, ["object"], read_block), pair)


def score_components_by_ids(pair: StackPair, value: int, name: str) -> list[ObjectScore]:
    """Score the connected components of one value of the prediction where the truth holds ids.

    Args:
        pair: classes to predict objects from, and ids.
        value: of the class in the prediction.
        name: of the class.

    Raises:
        FibsegError: the truth holds no object in these slices.
    """

    def read_block(block: Sequence[int]) -> Iterator[dict[str, _Both]]:
        def mask(k: int) -> UInt8:
            z = block[k]
            is_class = pair.prediction.read(pair.slice_of[z]) == value
            # Where the truth is unknown, no component continues.
            is_class &= pair.labels.read(z) >= 0
            return _inside(is_class, pair, z).astype(np.uint8)

        for z, components in zip(block, _components(mask, len(block), pair), strict=True):
            yield {name: (_inside(pair.labels.read(z), pair, z), components)}

    return _with_truth(_score(pair, [name], read_block), pair)


def score_components(pair: StackPair, description: DataDescription) -> list[ObjectScore]:
    """Score the connected components of each class, where both stacks hold classes.

    Components are 8-connected in slices and 26-connected in the stack.

    Raises:
        FibsegError: a value is claimed by no class, or there is nothing to score.
    """
    check_description(description)
    names = class_names(description)[1:]
    truth = ClassSlices(pair.labels, description, pair.reviewed)
    prediction = ClassSlices(pair.prediction, description)

    def read_both(z: int) -> tuple[UInt8, UInt8]:
        classes = truth.read(z), prediction.read(pair.slice_of[z])
        # On both sides alike: what one side does not know, neither is judged by.
        known = (classes[0] != IGNORE) & (classes[1] != IGNORE)
        return classes[0] * known, classes[1] * known

    def read_block(block: Sequence[int]) -> Iterator[dict[str, _Both]]:
        true_ids = _components(lambda k: read_both(block[k])[0], len(block), pair)
        predicted_ids = _components(lambda k: read_both(block[k])[1], len(block), pair)
        for z, *ids in zip(block, true_ids, predicted_ids, strict=True):
            sides = list(zip(ids, read_both(z), strict=True))
            yield {
                name: (sides[0][0] * (sides[0][1] == k), sides[1][0] * (sides[1][1] == k))
                for k, name in enumerate(names, 1)
            }

    scores = _score(pair, names, read_block)
    check_comparable(truth, prediction)
    return scores


def _score(
    pair: StackPair,
    names: Sequence[str],
    read_block: Callable[[Sequence[int]], Iterator[Mapping[str, _Both]]],
) -> list[ObjectScore]:
    """Count objects block by block of consecutive slices; `read_block` gives the ids by class."""
    in_slices = {name: pooled_matches([]) for name in names}
    in_stack = dict(in_slices)
    for places in consecutive_places([Place(0, z) for z in pair.positions]):
        counters = {name: ObjectCounter() for name in names}
        for by_class in read_block([pair.positions[k] for k in places]):
            for name, (truth, prediction) in by_class.items():
                counter = counters[name]
                counter.add(truth, prediction)
                # Added up at once: thousands of slices would take more memory than a slice.
                in_slices[name] = pooled_matches([in_slices[name], counter.in_slices.pop()])
        for name, counter in counters.items():
            in_stack[name] = pooled_matches([in_stack[name], counter.in_stack])
    return [ObjectScore(name, in_slices[name], in_stack[name]) for name in names]


def _inside(ids: Pixels, pair: StackPair, z: int) -> Pixels:
    """Leave out the ids of a slice where nobody has looked; 0 on both sides counts nowhere."""
    return ids if pair.reviewed is None else ids * pair.reviewed.read(z)


def _components(read: ReadClasses, count: int, pair: StackPair) -> Iterator[Numbers]:
    """Number the 26-connected components of equal class over `count` slices, slice by slice."""
    shape = (count, *pair.labels.shape[1:])
    slabs = ClassSlabs(read, shape, slab_depth(shape))
    number_of, _ = stitch(slabs.foreground(), shape, 26)
    return slabs.numbered(number_of)


def _with_truth(scores: list[ObjectScore], pair: StackPair) -> list[ObjectScore]:
    if not any(score.in_stack["truth"] for score in scores):
        raise FibsegError(
            f"{pair.labels.name}: no object in these slices; there is nothing to score."
        )
    return scores
