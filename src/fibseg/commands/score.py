"""`fibseg score`: F1 and components of one label stack against another, or its objects."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from fibseg.commands.arguments import add_reviewed, open_region, pixel_offset
from fibseg.commands.score_objects import (
    add_object_arguments,
    check_object_arguments,
    score_objects_of,
    table_of_objects,
)
from fibseg.config.compose import load_description
from fibseg.data.labels.files import label_notes, open_label_stack
from fibseg.data.scoring import agreed_names, pair_stacks, score_stacks
from fibseg.data.splits import parse_slices
from fibseg.machine import print_warnings, table_console
from fibseg.scores.label_values import noted_names
from fibseg.scores.slices import ClassScore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "prediction", help="label stack to score: a prediction, or another person's labels"
    )
    parser.add_argument("labels", help="label stack taken as the truth")
    parser.add_argument(
        "--data",
        help="data description (a name in conf/data or a YAML file) that names the classes",
    )
    parser.add_argument(
        "--slices",
        default=[],
        action="append",
        metavar="A:B",
        help="score only these slices of LABELS",
    )
    add_reviewed(parser, "LABELS")
    parser.add_argument(
        "--offset",
        type=pixel_offset,
        metavar="Z,Y,X",
        help="where LABELS start in PREDICTION, in pixels, if they are smaller",
    )
    add_object_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print F1 of each class and how many of its components were detected, or scores of objects."""
    check_object_arguments(options)
    console = table_console()
    prediction = open_label_stack(options.prediction)
    labels = open_label_stack(options.labels)
    print_warnings(console, [*prediction.doubts, *labels.doubts])
    depth = labels.shape[0]
    # Positions in LABELS, which may cover a part of PREDICTION.
    reviewed = open_region(options.reviewed, labels.shape)
    slices = list(range(depth) if reviewed is None else reviewed.slices)
    if options.slices:
        slices = parse_slices(options.slices, depth, "--slices")
    description = None if options.data is None else load_description(options.data)
    paths = (options.prediction, options.labels)
    named = {path: noted_names(label_notes(path)) for path in paths}
    names, doubts = agreed_names(named, description)
    print_warnings(console, doubts)
    if options.instances:
        pair = pair_stacks(prediction, labels, slices, options.offset, reviewed=reviewed)
        for score in score_objects_of(pair, options, description, names):
            console.print(table_of_objects(score, len(slices)))
        return
    scores = score_stacks(
        prediction=prediction,
        labels=labels,
        description=description,
        slices=slices,
        offset=options.offset,
        names=names,
        reviewed=reviewed,
    )
    console.print(_score_table(scores, len(slices)))


def _score_table(scores: Sequence[ClassScore], slices: int) -> Table:
    table = Table(
        "class",
        "F1",
        "slices",
        "pooled F1",
        "TP",
        "FN",
        "UD",
        "FP",
        title=f"{slices} {'slice' if slices == 1 else 'slices'}; F1 is the mean over the slices "
        "that hold the class",
        caption="components: detected, missed, under-detected, false",
    )
    for class_score in scores:
        detection = class_score.detection
        table.add_row(
            escape(class_score.name),
            _f1_text(class_score.f1),
            str(class_score.slices),
            _f1_text(class_score.pooled_f1),
            *(str(detection[kind]) for kind in ("tp", "fn", "ud", "fp")),
        )
    return table


def _f1_text(f1: float) -> str:
    """An F1; a class that occurs nowhere has none."""
    return "-" if math.isnan(f1) else f"{f1:.3f}"
