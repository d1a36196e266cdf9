"""`fibseg score`: F1 and components of one label stack against another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError

if TYPE_CHECKING:
    from fibseg.data.description import DataDescription
    from fibseg.stack import Stack


def score_command(options: argparse.Namespace) -> None:
    """F1 per class, and how many components were found."""
    from rich.console import Console
    from rich.table import Table

    from fibseg.data.description import class_names
    from fibseg.data.slices import parse_slices, to_classes
    from fibseg.scores.slices import score_slices, summarise
    from fibseg.stack import open_stack, part_of

    prediction, truth = open_stack(options.prediction), open_stack(options.labels)
    if options.offset is not None:
        prediction = part_of(prediction, options.offset, truth.shape)
    if prediction.shape != truth.shape:
        raise FibsegError(
            f"{prediction.name} is {prediction.shape}, {truth.name} is {truth.shape}; they must have one shape, "
            "or say where the second lies in the first with --offset z,y,x."
        )
    depth = truth.shape[0]
    chosen = (
        parse_slices(options.slices, depth, "--slices") if options.slices else list(range(depth))
    )
    description = _description(options.data, (truth, prediction), chosen)
    names = class_names(description)
    score = score_slices(
        [(0, z) for z in chosen],
        (to_classes(truth.read(z), description, f"{truth.name}, slice {z}") for z in chosen),
        (
            to_classes(prediction.read(z), description, f"{prediction.name}, slice {z}")
            for z in chosen
        ),
        len(names),
    )
    columns = ("class", "F1", "slices", "pooled F1", "TP", "FN", "UD", "FP")
    title = f"{len(chosen)} slices; F1 is the mean over the slices that hold the class"
    table = Table(
        *columns, title=title, caption="components: detected, missed, under-detected, false"
    )
    for one in summarise(score, names):
        counts = (
            one.detection["tp"],
            one.detection["fn"],
            one.detection["ud"],
            one.detection["fp"],
        )
        table.add_row(
            one.name, f"{one.f1:.3f}", str(one.slices), f"{one.pooled_f1:.3f}", *map(str, counts)
        )
    Console().print(table)


def _description(
    name: str | None, stacks: Sequence[Stack], slices: Sequence[int]
) -> DataDescription:
    """The named description, or one where every value but 0 is a class."""
    import numpy as np

    from fibseg.config.compose import load_description
    from fibseg.data.description import check_description, describe_values

    if name is not None:
        description = load_description(name)
    else:
        values = set[int]().union(
            *(np.unique(stack.read(z)).tolist() for stack in stacks for z in slices)
        )
        values.discard(IGNORE)  # nobody looked at it
        if not values - {0}:
            raise FibsegError(
                "both stacks hold nothing but 0 in these slices; there is nothing to score."
            )
        description = describe_values(sorted(values))
    check_description(description)
    return description
