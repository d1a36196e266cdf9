"""Finished runs with their model and slices, for commands that measure them again."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibseg.errors import FibsegError

if TYPE_CHECKING:
    from fibseg.data.volume import AnnotatedSlice
    from fibseg.machine import Compute
    from fibseg.models.trained import TrainedModel


@dataclass(frozen=True)
class ScoredRun:
    """A finished run, opened again.

    Attributes:
        path: its directory.
        model: its model.
        config: what config.yaml holds.
        slices: annotated slices by split.
        compute: what its network computes with, on this machine.
    """

    path: Path
    model: TrainedModel
    config: dict[str, Any]
    slices: dict[str, list[AnnotatedSlice]]
    compute: Compute


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `open_scored_run` reads beside the directory."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="folder of the images, instead of the root in the run's data description",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument(
        "--batch", type=int, default=16, metavar="WINDOWS", help="windows in a batch"
    )


def open_scored_run(path: Path, options: argparse.Namespace) -> ScoredRun:
    """Open the model and the slices of a run directory, with all cores.

    Raises:
        FibsegError: no run directory, or one without a model.
    """
    # torch is imported here, so that `--help` answers at once.
    from fibseg.config.compose import description_of
    from fibseg.data.slices import few_training_slices, load_slices
    from fibseg.machine import Compute, choose_device, cores, set_threads
    from fibseg.models.trained import load_model
    from fibseg.prediction.ensemble import common_precision
    from fibseg.runs.directory import RunDirectory, find_checkpoint
    from fibseg.runs.identity import read_config

    model = load_model(find_checkpoint(path))
    config = read_config(RunDirectory(path))
    if config is None:
        raise FibsegError(
            f"{path}: no run directory; it has no config.yaml, which names the validation slices."
        )
    description = description_of(config["data"], str(RunDirectory(path).config))
    if options.root is not None:
        description.root = options.root
    set_threads(None)
    device = choose_device(options.device)
    compute = Compute(device, common_precision([model], device), options.batch, cores())
    return ScoredRun(
        path=path,
        model=model,
        config=config,
        slices=few_training_slices(load_slices(description), description),
        compute=compute,
    )
