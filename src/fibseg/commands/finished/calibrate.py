"""`fibseg calibrate`: offsets and smallest objects of finished runs, by their validation slices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.finished.scored import ScoredRun, add_run_arguments, open_scored_run
from fibseg.models.kinds import DECISIONS
from fibseg.rules import Check, among, require

if TYPE_CHECKING:
    from rich.table import Table

    from fibseg.arrays import Floats, UInt8
    from fibseg.models.trained import TrainedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("directories", nargs="+", metavar="directory", help="run directories")
    parser.add_argument(
        "--decision",
        default="validation",
        metavar="KIND",
        help="argmax (no offsets), prior or validation, as in train.py",
    )
    parser.add_argument(
        "--smallest",
        default="validation",
        metavar="KIND",
        help="smallest objects: none or validation, as in train.py",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the scores, and leave the models as they are"
    )


def run(options: argparse.Namespace) -> None:
    """Choose offsets for each run, print what they change, and keep them in its model."""
    require(
        Check("--decision", options.decision, among(*DECISIONS)),
        Check("--smallest", options.smallest, among("none", "validation")),
    )
    for directory in options.directories:
        _calibrate(Path(directory), options)


def _calibrate(path: Path, options: argparse.Namespace) -> None:
    # torch is imported here, so that other commands answer at once.
    from fibseg.machine import print_line, table_console
    from fibseg.models.trained import keep_model
    from fibseg.runs.directory import RunDirectory

    console = table_console()
    opened = open_scored_run(path, options)
    channels = {split: _channels(opened, split) for split in ("validation", "test")}
    model = _decided(opened, options, channels["validation"])
    before, after = (
        {split: _mean_f1(opened, either, split, channels[split]) for split in channels}
        for either in (opened.model, model)
    )
    console.print(_table(model, before, after, str(path)))
    if not options.dry_run:
        run = RunDirectory(opened.path)
        digest = keep_model(model, run)
        text = f"{run.model_file}: predictions use this; scores.json stays as it is"
        print_line(console, f"{text}; SHA-256 {digest}")


def _channels(opened: ScoredRun, split: str) -> list[UInt8]:
    """What the network sees (C, H, W) of the slices of a split."""
    from fibseg.prediction.slices import model_channels

    model = opened.model
    images = [annotated.pictures(model.grey_range) for annotated in opened.slices[split]]
    return model_channels(model, images, None, opened.compute.filter_threads)


def _decided(
    opened: ScoredRun, options: argparse.Namespace, channels: Sequence[UInt8]
) -> TrainedModel:
    """The model with the decision asked for, chosen by the channels of the validation slices."""
    from fibseg.prediction.decision import prior_offsets, with_decision
    from fibseg.prediction.windows import chosen_windows

    model = opened.model
    prior = None
    kind: str = options.decision
    if model.kind.by_gradient and kind != "argmax":
        patches = opened.config["patches"]
        labels = [annotated.labels for annotated in opened.slices["train"]]
        count = len(model.class_names)
        prior = prior_offsets(labels, patches["size"], patches["class_share"], count)
    return with_decision(
        model=model,
        kind=kind,
        channels=channels,
        truths=[annotated.labels for annotated in opened.slices["validation"]],
        prior=prior,
        windows=chosen_windows(model),
        compute=opened.compute,
        cleans=options.smallest == "validation",
    )


def _mean_f1(
    opened: ScoredRun, model: TrainedModel, split: str, channels: Sequence[UInt8]
) -> Floats:
    """F1 of each class, the mean over the slices of a split that hold it."""
    import numpy as np

    from fibseg.prediction.slices import predict_slices
    from fibseg.prediction.windows import chosen_windows
    from fibseg.scores.pixels import confusion_counts, mean_f1

    slices = opened.slices[split]
    count = len(model.class_names)
    if not slices:
        return np.full(count, np.nan)
    labels = predict_slices(model, channels, chosen_windows(model), opened.compute)
    pairs: Sequence[tuple[UInt8, UInt8]] = [
        (annotated.labels, pixels) for annotated, pixels in zip(slices, labels, strict=True)
    ]
    return mean_f1(np.stack([confusion_counts(*pair, count) for pair in pairs]))


def _table(
    model: TrainedModel, before: dict[str, Floats], after: dict[str, Floats], title: str
) -> Table:
    """A row for each class: offset, smallest object, and F1 before and after in each split."""
    from rich.table import Table

    decision = model.decision
    assert decision is not None
    gain = "" if decision.gain is None else f"; mean F1 {decision.gain:+.3f} on pixels held apart"
    table = Table(
        "class", "offset", "smallest", *before, title=title, caption=f"{decision.kind}{gain}"
    )
    for index, name in enumerate(model.class_names[1:], 1):
        cells = [f"{before[split][index]:.3f} -> {after[split][index]:.3f}" for split in before]
        size = str(decision.smallest[index]) if decision.smallest else "-"
        table.add_row(name, f"{decision.offsets[index]:+.2f}", size, *cells)
    return table
