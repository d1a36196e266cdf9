"""Runs of a sweep whose files are made by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fibseg.runs.directory import RunDirectory
from fibseg.sweeps.progress import CLOCK_FORMAT, SweepRun


def make_sweep_run(
    folder: Path,
    group: str,
    seed: int,
    epochs_done: int,
    confusion: list[list[int]] | None = None,
    **state: Any,
) -> SweepRun:
    """A run of ten epochs of which some are done; with confusion counts it has scores."""
    directory = RunDirectory(folder / f"{group}-s{seed}")
    directory.path.mkdir()
    rows = [f"{epoch},{epoch * 4},0.5,0.25\n" for epoch in range(epochs_done)]
    directory.metrics.write_text("".join(["epoch,step,val_loss,val_f1\n", *rows]))
    if state.get("state") == "running":
        directory.log.write_text(begin_line_at(state["started"]))
    if confusion:
        slices = [{"volume": 0, "slice": 1, "confusion": confusion}]
        content = {
            "schema": 1,
            "run": {},
            "classes": ["background", "er"],
            "splits": {"validation": slices, "test": slices},
        }
        directory.scores.write_text(json.dumps(content))
    return SweepRun(directory, group, seed, epochs=10, **state)


def begin_line_at(seconds: float) -> str:
    """The line of log.txt for an attempt that got its slot at this time."""
    return f"--- {time.strftime(CLOCK_FORMAT, time.localtime(seconds))}, process 7, cores [0]\n"
