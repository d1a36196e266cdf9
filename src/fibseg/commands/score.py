"""`fibseg score`: F1 and components of one label stack against another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.table import Table

from fibseg.commands.arguments import pixel_offset
from fibseg.config.compose import load_description
from fibseg.data.scoring import score_stacks
from fibseg.data.splits import parse_slices
from fibseg.machine import table_console
from fibseg.scores.slices import ClassScore
from fibseg.stack import open_stack


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
    parser.add_argument(
        "--offset",
        type=pixel_offset,
        metavar="Z,Y,X",
        help="where LABELS start in PREDICTION, in pixels, if they are smaller",
    )


def run(options: argparse.Namespace) -> None:
    """Print F1 of each class, and how many of its components were detected."""
    labels = open_stack(options.labels)
    depth = labels.shape[0]
    # Positions in LABELS, which may cover a part of PREDICTION.
    slices = list(range(depth))
    if options.slices:
        slices = parse_slices(options.slices, depth, "--slices")
    scores = score_stacks(
        prediction=open_stack(options.prediction),
        labels=labels,
        description=None if options.data is None else load_description(options.data),
        slices=slices,
        offset=options.offset,
    )
    table_console().print(_score_table(scores, len(slices)))


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
        title=f"{slices} slices; F1 is the mean over the slices that hold the class",
        caption="components: detected, missed, under-detected, false",
    )
    for class_score in scores:
        detection = class_score.detection
        table.add_row(
            class_score.name,
            f"{class_score.f1:.3f}",
            str(class_score.slices),
            f"{class_score.pooled_f1:.3f}",
            *(str(detection[kind]) for kind in ("tp", "fn", "ud", "fp")),
        )
    return table
