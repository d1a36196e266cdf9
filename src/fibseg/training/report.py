"""What a person reads of a run: its data, then its scores, its pictures, and what to type next."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fibseg.config.schemas import TrainConfig
from fibseg.data.grey import GreyRange
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import print_line
from fibseg.rules import what_to_type
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS, mean_validation_f1, read_scores
from fibseg.scores.pixels import mean_f1, slices_with_class
from fibseg.stack import located


def print_counts(
    name: str,
    slices: Mapping[str, Sequence[AnnotatedSlice]],
    grey: GreyRange,
    console: Console,
) -> None:
    """Print how many slices each split of a data set has, and the range of grey values."""
    counts = ", ".join(
        f"{len(split_slices)} {split.replace('_', ' ')}"
        for split, split_slices in slices.items()
        if split_slices
    )
    text = f"data {name}: {counts} slices; grey values {grey.low:g} to {grey.high:g}"
    print_line(console, text)


def print_scores(directory: RunDirectory, console: Console) -> float:
    """Print F1 per class from scores.json; gives `mean_validation_f1`."""
    scores = read_scores(directory)
    columns = [f"{split} F1 (slices)" for split in SCORED_SPLITS]
    table = Table("class", *columns, title="mean of the per-slice F1")
    for index, name in enumerate(scores.class_names[1:], 1):
        cells = []
        for split, confusions in scores.confusions.items():
            f1 = float(mean_f1(confusions)[index])
            count = slices_with_class(confusions)[index]
            where = f"no {name} in" if len(confusions) else "no"
            cells.append(f"{where} {split} slices" if math.isnan(f1) else f"{f1:.3f} ({count})")
        table.add_row(name, *cells)
    console.print(table, markup=False)
    return mean_validation_f1(directory)


def print_next(config: TrainConfig, directory: RunDirectory, console: Console) -> None:
    """Name the files and pictures of a run, and the commands that go on with it."""
    path = directory.model()
    model = f", checkpoints/{path.name}" if path else ""
    print_line(console, f"{directory.path}: scores.json, labels/{model}")
    pictures = [directory.picture(name) for name in (*SCORED_SPLITS, "curves")]
    drawn = [picture.name for picture in pictures if picture.exists()]
    if drawn:
        print_line(console, f"pictures: {', '.join(drawn)} in {directory.figures}")
    if path is not None:
        volume = config.data.volumes[0]
        arguments = {
            "checkpoint": directory.path,
            "image": located(config.data.root, volume.image),
            "output": directory.path / "stack.tif",
        }
        typed = " ".join(_override(key, str(value)) for key, value in arguments.items())
        print_line(console, f"label a whole stack: {_program('predict')} {typed}")
    folder = shlex.quote(str(directory.path.parent))
    print_line(console, f"compare the runs of this data: {_fibseg()} compare {folder}")


def _override(key: str, value: str) -> str:
    """`key=value` for a shell and for Hydra's grammar."""
    if re.fullmatch(r"[\w./:~-]+", value, re.ASCII) and not value.startswith("~"):
        return f"{key}={value}"
    return what_to_type(f"{key}={value}")


def _program(name: str) -> str:
    """Another program of the project, as it is typed by who typed the command of this process."""
    typed = Path(sys.argv[0])
    if typed.name != "train.py":
        return f"{_fibseg()} {name}"
    script = shlex.quote(str(typed.with_name(f"{name}.py")))
    # The interpreter of an environment that is not active needs its path.
    python = shutil.which("python")
    is_active = python is not None and Path(python).samefile(sys.executable)
    return f"{'python' if is_active else _brief(sys.executable)} {script}"


def _fibseg() -> str:
    """The program `fibseg`, by its path where it is not on the PATH."""
    beside = Path(sys.executable).with_name("fibseg")
    if shutil.which("fibseg") is None and beside.exists():
        return _brief(str(beside))
    return "fibseg"


def _brief(path: str) -> str:
    """A path as it is typed in the current folder, if it lies below that."""
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith("..") else relative)
