"""A round of `fibseg annotate --train`: begun, trained in a process of its own, and compared."""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.annotating.changes import compute_of
from fibseg.errors import FibsegError

if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.annotation.project import AnnotationProject
    from fibseg.annotation.rounds import Round


def train_round(folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Train a round in a process of its own, and compare it with the model before it."""
    from fibseg.annotation.opening import opened_project
    from fibseg.annotation.rounds import begin_round, run_of, training_command
    from fibseg.annotation.validation import finish_round, finish_rounds

    with opened_project(folder) as project:
        for earlier in finish_rounds(project, compute_of(options.device)):
            for line in result_lines(earlier):
                console.print(line)
        entry = begin_round(project)
        _print_round(project, entry, console)
    settings = list(options.set)
    if options.device != "auto":
        settings.append(f"machine.device={options.device}")
    start = time.monotonic()
    # The lock is free meanwhile: a person paints on.
    code = run_training(training_command(folder, entry, settings))
    if code != 0:
        raise FibsegError(
            f"round {entry.number}: its training ended with exit code {code}; the same command "
            "goes on from its last epoch, if nothing is painted in between."
        )
    with _waiting_for(folder, entry) as project:
        seconds = time.monotonic() - start
        finished = finish_round(project, entry, seconds, compute_of(options.device))
        run = run_of(folder, finished)
        for line in result_lines(finished):
            console.print(line)
        if finished.state == "kept":
            console.print(
                "labels of the whole stack:\n  "
                + shlex.join(
                    ["fibseg", "predict", f"checkpoint={run}", f"image={project.state.image}"]
                )
                + " output=labels.tif"
            )


@contextmanager
def _waiting_for(folder: Path, entry: Round) -> Iterator[AnnotationProject]:
    """Open the project again, which a window may have open by now."""
    from fibseg.annotation.opening import opened_project

    with ExitStack() as stack:
        try:
            project = stack.enter_context(opened_project(folder))
        except FibsegError as error:
            raise FibsegError(
                f"round {entry.number} is trained and not compared yet: {error} The next round "
                "compares it first."
            ) from error
        yield project


def run_training(command: Sequence[str]) -> int:
    """Run a training in a process of its own; gives its exit code."""
    return subprocess.run(command, check=False).returncode


def _print_round(project: AnnotationProject, entry: Round, console: Console) -> None:
    counts = ", ".join(f"{len(slices)} {split}" for split, slices in entry.slices.items())
    start = "a random start" if entry.start is None else entry.start
    console.print(f"round {entry.number}: {counts} slices, from {start}")
    left_out = [name for name in project.state.classes if name not in entry.classes]
    if left_out:
        console.print(f"not trained: {', '.join(left_out)}; no training slice shows it yet")
    if entry.before_classes:
        slices = ", ".join(map(str, entry.before_classes))
        console.print(
            f"slices {slices} were reviewed before the last class came: what they show of it "
            "counts as background; paint it there, too"
        )
    if entry.new:
        console.print(
            f"new: {', '.join(entry.new)}; the last model is extended by it and trained on"
        )


def result_lines(entry: Round) -> list[str]:
    """What a round was worth, class by class and in all."""
    from fibseg.annotation.validation import mean_of

    assert entry.after is not None
    lines = [f"round {entry.number}: F1 on {len(entry.slices['validation'])} validation slices"]
    for name, value in entry.after.items():
        before = "" if entry.before is None else f"{entry.before[name]:.3f} -> "
        # NaN: there is nothing to find, and nothing to say of a model.
        text = "no validation slice shows it" if math.isnan(value) else f"{before}{value:.3f}"
        lines.append(f"  {name}: {text}")
    if entry.before is not None:
        change = mean_of(entry.after) - mean_of(entry.before)
        lines.append(f"  mean: {change:+.3f}")
    if entry.state == "aside":
        lines.append(
            "the validation slices became worse: kept aside, and the model before it stays"
        )
    return lines
