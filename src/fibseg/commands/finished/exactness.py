"""`fibseg exactness`: how far labels of a run by larger windows are from the paper's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.finished.scored import add_run_arguments, open_scored_run

if TYPE_CHECKING:
    from rich.table import Table

    from fibseg.prediction.exactness import Drift


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("directory", help="run directory")
    add_run_arguments(parser)
    parser.add_argument(
        "--store",
        action="store_true",
        help="write the choice of windows to the run's checkpoint, for windows=auto",
    )


def run(options: argparse.Namespace) -> None:
    """Compare windows with the paper's, and print a row for each kind."""
    # torch is imported here, so that other commands answer at once.
    from fibseg.machine import print_line, table_console
    from fibseg.prediction.exactness import run_drift, store_choice
    from fibseg.prediction.windows import chosen_windows
    from fibseg.runs.directory import RunDirectory

    console = table_console()
    opened = open_scored_run(Path(options.directory), options)
    model = opened.model
    # Never the test slices: the windows of predictions are chosen by this.
    slices = opened.slices["validation"]
    drifts = run_drift(model, slices, opened.compute)
    console.print(drift_table(drifts, list(model.class_names)[1:], len(slices)))
    if options.store:
        model = store_choice(model, drifts, len(slices), RunDirectory(opened.path))
    print_line(console, f"{opened.path}: predictions cut slices by: {chosen_windows(model)}")


def drift_table(drifts: Sequence[Drift], class_names: Sequence[str], slices: int) -> Table:
    """One row for each kind of windows."""
    # As above: `fibseg exactness --help` needs neither Rich nor torch.
    from rich.table import Table

    from fibseg.prediction.exactness import ALLOWED_LOSS

    table = Table(
        "windows",
        "largest difference",
        "labels flipped",
        *(f"F1 {name}" for name in class_names),
        "s a slice",
        title=(
            f"{slices} validation slices, against the paper's windows "
            f"({drifts[0].paper_seconds:.2f} s a slice)"
        ),
        caption=(
            "difference of a probability; predictions take the first that loses at most "
            f"{ALLOWED_LOSS} of any class"
        ),
    )
    for drift in drifts:
        table.add_row(
            str(drift.windows),
            f"{drift.probability:.3g}",
            f"{drift.flipped:.3%}",
            *(f"{drift.change[name]:+.4f}" for name in class_names),
            f"{drift.seconds:.2f}",
        )
    return table
