"""Scores of one label stack against another."""

from __future__ import annotations

from collections.abc import Sequence

from fibseg.arrays import Place
from fibseg.data.description import (
    DataDescription,
    check_description,
    class_names,
    describe_labels,
)
from fibseg.data.volume import to_classes
from fibseg.errors import FibsegError
from fibseg.scores.slices import ClassScore, score_slices, summarise
from fibseg.stack import Stack, part_of


def score_stacks(
    prediction: Stack,
    labels: Stack,
    description: DataDescription | None = None,
    slices: Sequence[int] | None = None,
    offset: Sequence[int] | None = None,
) -> list[ClassScore]:
    """Score a prediction against labels, slice by slice: F1 and components.

    Args:
        prediction: label values of a prediction, or of another person.
        labels: label values that are taken as the truth.
        description: says which value is which class. Without it, every value but 0 and 255 is a
            class.
        slices: of `labels` that are compared; without them, all.
        offset: (z, y, x) in pixels where `labels` lie in `prediction`, if they are smaller.

    Returns:
        An entry per class, without the background.

    Raises:
        FibsegError: the stacks differ in shape, or a value is claimed by no class.
    """
    # The offset cuts the prediction, since annotation usually covers a part of a stack.
    if offset is not None:
        prediction = part_of(prediction, offset, labels.shape)
    if prediction.shape != labels.shape:
        raise FibsegError(
            f"{prediction.name} is {prediction.shape}, {labels.name} is {labels.shape}; "
            "they must have one shape, or say where the second lies in the first with "
            "--offset z,y,x."
        )
    # Slices are counted in `labels`, which may be a part of the prediction's stack.
    positions = range(labels.shape[0]) if slices is None else slices
    if description is None:
        stacks = (labels, prediction)
        description = describe_labels(stack.read(z) for stack in stacks for z in positions)
    check_description(description)
    names = class_names(description)
    # Generators, so that one slice of each stack is in memory at a time.
    split_score = score_slices(
        [Place(0, z) for z in positions],
        (to_classes(labels.read(z), description, f"{labels.name}, slice {z}") for z in positions),
        (
            to_classes(prediction.read(z), description, f"{prediction.name}, slice {z}")
            for z in positions
        ),
        len(names),
    )
    return summarise(split_score, names)
