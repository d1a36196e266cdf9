"""`fibseg exactness`: how far the labels of a run by larger windows are from the paper's, on its validation slices."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fibseg.config.compose import description_of
from fibseg.data.grey import to_8bit
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from fibseg.machine import choose_device, cores, set_threads
from fibseg.models.trained import load_model, save_model
from fibseg.prediction.exactness import ALLOWED, ORDER, kept, measure_drift
from fibseg.prediction.slices import model_channels
from fibseg.prediction.windows import chosen_windows, windows_of
from fibseg.runs.directory import RunDirectory, find_checkpoint
from fibseg.runs.identity import read_config


def exactness(options: argparse.Namespace) -> None:
    """Print a row for each kind of windows."""
    console, path = Console(), Path(options.directory)
    if not console.is_terminal:
        console.width = 140
    model = load_model(find_checkpoint(path))
    if model.architecture == "forest":
        raise FibsegError(
            f"{path}: a forest gives the same labels by whole slices and by tiles; nothing to measure."
        )
    config = read_config(RunDirectory(path))
    if config is None:
        raise FibsegError(
            f"{path}: no run directory; it has no config.yaml, which names the validation slices."
        )
    description = description_of(config["data"], str(RunDirectory(path).config))
    if options.root is not None:
        description.root = options.root
    slices = load_slices(description)["validation"]
    set_threads(None)
    images = [to_8bit(one.image, model.window) for one in slices]
    channels = model_channels(model, images, None, cores())
    kinds = (
        [("blend", None)]
        if model.filter_scope == "patch" and model.areas
        else [*ORDER, ("blend", None)]
    )
    device = choose_device(options.device)
    found = measure_drift(
        model,
        channels,
        [one.labels for one in slices],
        [windows_of(model, *kind) for kind in kinds],
        options.batch,
        device,
        model.precision,
    )
    names = list(model.class_names)[1:]
    changes = [f"F1 {name}" for name in names]
    title = f"{len(slices)} validation slices, against the paper's windows ({found[0].paper_seconds:.2f} s a slice)"
    table = Table(
        "windows", "largest difference", "labels flipped", *changes, "s a slice", title=title
    )
    for one in found:
        cells = [f"{one.change[name]:+.4f}" for name in names]
        table.add_row(
            str(one.windows),
            f"{one.probability:.3g}",
            f"{one.flipped:.3%}",
            *cells,
            f"{one.seconds:.2f}",
        )
    table.caption = f"difference of a probability; predict.py takes the first that loses at most {ALLOWED} of any class"
    console.print(table)
    if options.store:
        good = next(
            (one for one in found if one.loss <= ALLOWED and one.windows.kind != "blend"), None
        )
        model = replace(model, windows=kept(model, good, len(slices)))
        save_model(model, find_checkpoint(path))
    console.print(
        f"{path}: predict.py cuts slices by: {chosen_windows(model)}", markup=False, highlight=False
    )
