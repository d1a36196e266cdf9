"""`fibseg exactness`: how far labels of a run by larger windows are from the paper's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.errors import FibsegError

if TYPE_CHECKING:
    from rich.table import Table

    from fibseg.prediction.exactness import Drift


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("directory", help="run directory")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="folder of the images, instead of the root in the run's data description",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument(
        "--batch", type=int, default=16, metavar="WINDOWS", help="windows in a batch"
    )
    parser.add_argument(
        "--store",
        action="store_true",
        help="write the choice of windows to the run's checkpoint, for windows=auto",
    )


def run(options: argparse.Namespace) -> None:
    """Compare windows with the paper's, and print a row for each kind."""
    # torch is imported here, so that other commands answer at once.
    from fibseg.config.compose import description_of
    from fibseg.data.slices import load_slices
    from fibseg.machine import (
        Compute,
        choose_device,
        cores,
        print_line,
        set_threads,
        table_console,
    )
    from fibseg.models.trained import load_model
    from fibseg.prediction.ensemble import common_precision
    from fibseg.prediction.exactness import run_drift, store_choice
    from fibseg.prediction.windows import chosen_windows
    from fibseg.runs.directory import RunDirectory, find_checkpoint
    from fibseg.runs.identity import read_config

    path = Path(options.directory)
    console = table_console()
    checkpoint = find_checkpoint(path)
    model = load_model(checkpoint)
    config = read_config(RunDirectory(path))
    if config is None:
        raise FibsegError(
            f"{path}: no run directory; it has no config.yaml, which names the validation slices."
        )
    description = description_of(config["data"], str(RunDirectory(path).config))
    if options.root is not None:
        description.root = options.root
    # Timing needs all cores, as a prediction has them.
    set_threads(None)
    device = choose_device(options.device)
    precision = common_precision([model], device)
    compute = Compute(device, precision, options.batch, cores())
    # Never the test slices: the windows of predictions are chosen by this.
    slices = load_slices(description)["validation"]
    drifts = run_drift(model, slices, compute)
    console.print(drift_table(drifts, list(model.class_names)[1:], len(slices)))
    if options.store:
        model = store_choice(model, drifts, len(slices), checkpoint)
    print_line(console, f"{path}: predictions cut slices by: {chosen_windows(model)}")


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
