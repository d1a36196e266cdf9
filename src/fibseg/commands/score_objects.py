"""The part of `fibseg score` for objects: what is an object, and the table of their scores."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from fibseg.data.description import DataDescription
from fibseg.data.scoring import StackPair, describe_pair
from fibseg.data.scoring.objects import (
    ObjectScore,
    score_components,
    score_components_by_ids,
    score_ids,
)
from fibseg.errors import FibsegError
from fibseg.scores.instances import InstanceFigures, instance_figures


def add_object_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that concern objects."""
    parser.add_argument(
        "--instances",
        action="store_true",
        help="score objects: each value of the two stacks is the id of one object",
    )
    parser.add_argument(
        "--components",
        choices=("both", "prediction"),
        help="with --instances: the stacks of classes, whose connected components are the objects",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="with --components prediction: the class, by name or value, of which LABELS holds ids",
    )


def check_object_arguments(options: argparse.Namespace) -> None:
    """Check options that need each other.

    Raises:
        FibsegError: an option has no effect.
    """
    if options.components and not options.instances:
        raise FibsegError("--components: only with --instances.")
    if options.class_name and options.components != "prediction":
        raise FibsegError("--class: only with --instances --components prediction.")
    if options.data and options.instances and options.components is None:
        raise FibsegError("--data: ids have no classes; leave it out, or give --components.")


def score_objects_of(
    pair: StackPair,
    options: argparse.Namespace,
    description: DataDescription | None,
    names: Mapping[int, str],
) -> list[ObjectScore]:
    """Score the objects of two stacks, as the options say.

    Args:
        pair: the stacks.
        options: of the command line.
        description: that names classes.
        names: label value -> class, used without a description.

    Raises:
        FibsegError: there is nothing to score, or it is open which class the ids are of.
    """
    if options.components is None:
        return score_ids(pair)
    if options.components == "both":
        return score_components(pair, description or describe_pair(pair, names))
    value, name = _chosen_class(pair, options.class_name, names)
    return score_components_by_ids(pair, value, name)


def _chosen_class(pair: StackPair, given: str | None, names: Mapping[int, str]) -> tuple[int, str]:
    """Value and name of the class of the prediction whose objects are scored."""
    # Without names every value may be asked for.
    values = dict(names)
    if not values and given is not None and given.isdecimal():
        return int(given), given
    chosen = [(value, name) for value, name in values.items() if given in (None, name, str(value))]
    if len(chosen) == 1:
        return chosen[0]
    known = ", ".join(f"{name} ({value})" for value, name in values.items()) or "not known"
    raise FibsegError(
        f"{pair.prediction.name}: which class are the ids of? Give it by --class NAME or --class "
        f"VALUE; the classes are {known}."
    )


def table_of_objects(score: ObjectScore, slices: int) -> Table:
    """Make the table of one class: a row per score, in slices and in the stack."""
    flat = instance_figures(score.in_slices)
    solid = instance_figures(score.in_stack)
    table = Table(
        escape(score.name),
        "2-D",
        "3-D",
        title=f"objects of {slices} slices",
        caption="IoU: intersection over union, which a match reaches; VOI: variation of "
        "information in bits, over the pixels of true objects",
    )
    for columns in zip(_rows(flat), _rows(solid), strict=True):
        (name, *_), _ = columns
        table.add_row(name, *(text for _, text in columns))
    return table


def _rows(figures: InstanceFigures) -> list[tuple[str, str]]:
    rows = [("objects of the truth", str(figures.truth)), ("predicted", str(figures.predicted))]
    for percent, at in ((50, figures.at_50), (75, figures.at_75)):
        rows += [
            (f"precision, IoU .{percent}", _text(at.precision)),
            (f"recall, IoU .{percent}", _text(at.recall)),
            (f"F1, IoU .{percent}", _text(at.f1)),
            (f"panoptic quality, IoU .{percent}", _text(at.quality)),
            (f"SA{percent}", _text(at.accuracy)),
        ]
    return [
        *rows,
        ("mSA", _text(figures.msa)),
        ("VOI, splits", _text(figures.voi_split)),
        ("VOI, merges", _text(figures.voi_merge)),
    ]


def _text(value: float) -> str:
    """A score; without objects there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"
