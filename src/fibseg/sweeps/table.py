"""A sweep as a person sees it: its runs, how far each is, when it will end, and what came out.

Reads run directories only, so it shows runs on other machines too.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

import numpy as np
from rich.table import Column, Table

from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import SCORED_SPLITS, final_scores, read_metrics

ENDED = ("finished", "resumed", "skipped", "failed")
"""Trained here from its start, or from a checkpoint; finished before or elsewhere; failed for good."""


CLOCK = "%Y-%m-%d %H:%M:%S"


def begin_line(process: int, place: str) -> str:
    """What log.txt of a run says when an attempt has found its place; `SweepRun.began` reads it."""
    return f"--- {time.strftime(CLOCK)}, process {process}, {place}"


@dataclass
class SweepRun:
    """One run of a sweep.

    Attributes:
        directory: of the run.
        group: what varies in the sweep, without the seed, as filter=on.
        seed: of the run.
        epochs: of a whole training.
        state: "waiting", "running", "elsewhere" (another process is in it) or one of ENDED.
        tries: how often it was started here.
        started: seconds of the clock (`time.time`) at its last start, `done_before`, its epochs then, and `begins`, how
            many attempts log.txt told of.
        seconds: of its attempts here, added up.
        finished_before: it was finished when its last attempt began, and had only to be looked at.
        error: why it failed.
    """

    directory: RunDirectory
    group: str
    seed: int
    epochs: int
    state: str = "waiting"
    tries: int = 0
    started: float = 0.0
    done_before: int = 0
    begins: int = 0
    seconds: float = 0.0
    finished_before: bool = False
    error: str = ""

    def _begin_times(self) -> list[str]:
        try:
            return re.findall(
                r"^--- ([^,]*), process ", self.directory.log.read_text(errors="replace"), re.M
            )
        except OSError:
            return []

    def begun(self) -> int:
        """How many attempts have found a place, as log.txt tells."""
        return len(self._begin_times())

    def began(self) -> float | None:
        """When its last attempt found its place; None while that waits for one, in a queue or for cores."""
        told = self._begin_times()
        if len(told) <= self.begins:
            return None
        return max(self.started, time.mktime(time.strptime(told[-1], CLOCK)))

    def figures(self) -> dict[str, float]:
        """The last row of metrics.csv, nothing before the first epoch."""
        try:
            rows = read_metrics(self.directory.metrics)
        except (OSError, ValueError):
            return {}
        return rows[-1] if rows else {}

    def done(self) -> int:
        """Epochs that are done."""
        figures = self.figures()
        return int(figures["epoch"]) + 1 if figures else 0


@dataclass(frozen=True)
class Outlook:
    """What is left of a sweep: how many runs have ended, seconds left for each one that has not, and for all."""

    ended: int
    left: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None


def outlook(runs: Sequence[SweepRun], slots: int, now: float) -> Outlook:
    """Estimate from the pace of the runs of the same group, or of all where the group has none yet.

    `now` is on the clock of `SweepRun.started`.
    """
    paces: dict[str, list[float]] = {}
    done = {str(run.directory.path): run.done() for run in runs if run.state not in ENDED}
    for run in runs:
        epochs = done.get(str(run.directory.path), run.epochs) - run.done_before
        began = run.began() if run.state == "running" else None
        spent = now - began if began is not None else run.seconds if run.state != "running" else 0.0
        if run.state in ("running", "finished") and epochs > 0 and spent > 0:
            paces.setdefault(run.group, []).append(spent / epochs)
    everywhere = mean(mean(found) for found in paces.values()) if paces else None
    left = {}
    for run in runs:
        name = str(run.directory.path)
        if name in done and everywhere is not None:
            pace = mean(paces[run.group]) if run.group in paces else everywhere
            left[name] = pace * max(0, run.epochs - done[name])
    ended = len(runs) - len(done)
    at_work = [run.began() is not None for run in runs if run.state == "running"]
    if not all(at_work):  # the queue of a cluster: what it gives now is what can be counted on
        slots = sum(at_work)
    if len(left) < len(done):
        return Outlook(ended)
    return Outlook(
        ended, left, max([sum(left.values()) / max(1, slots), *left.values()], default=0.0)
    )


def duration(seconds: float | None) -> str:
    """For a person.

    >>> duration(8050), duration(250), duration(9), duration(None)
    ('2 h 14 min', '4 min', '9 s', '?')
    """
    if seconds is None:
        return "?"
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def live_table(runs: Sequence[SweepRun], slots: int, now: float, rows: int) -> Table:
    """Runs at work first, then those that failed, ended and wait; at most `rows` of them."""
    ahead = outlook(runs, slots, now)
    title = f"{ahead.ended} of {len(runs)} runs ended; about {duration(ahead.seconds)} left"
    table = Table("run", "epoch", "val loss", "val F1", "left", "state", title=title)
    order = ("running", "elsewhere", "failed", "resumed", "finished", "waiting", "skipped")
    for run in sorted(runs, key=lambda one: order.index(one.state))[: max(1, rows)]:
        figures = run.figures() if run.state != "waiting" else {}
        shown = (f"{figures['val_loss']:.4f}", f"{figures['val_f1']:.3f}") if figures else ("", "")
        epochs = f"{int(figures['epoch']) + 1 if figures else 0}/{run.epochs}"
        left = (
            ahead.left.get(str(run.directory.path))
            if run.state in ("running", "elsewhere")
            else None
        )
        state = "scoring" if run.state == "running" and run.epochs == run.done() else run.state
        state = "queued" if run.state == "running" and run.began() is None else state
        state += f", try {run.tries}" if run.tries > 1 else ""
        table.add_row(
            f"{run.group} seed={run.seed}",
            epochs,
            *shown,
            "" if left is None else duration(left),
            state,
        )
    return table


def event_line(run: SweepRun, runs: Sequence[SweepRun], slots: int, now: float) -> str:
    """One plain line when a run starts or ends."""
    ahead, figures = outlook(runs, slots, now), run.figures()
    name, state = run.directory.path.name, run.state
    line = f"[{ahead.ended}/{len(runs)}] {state} {name}"
    if state == "running":
        line += f", from epoch {run.done_before + 1}" if run.done_before else ""
        return line + (f" (try {run.tries})" if run.tries > 1 else "")
    if state == "failed":
        line += f": {run.error}"
    elif figures:
        line += f", val loss {figures['val_loss']:.4f}, val F1 {figures['val_f1']:.3f}"
    if state in ("finished", "resumed"):
        line += f", {run.seconds:.0f} s"
    return line + (f"; about {duration(ahead.seconds)} left" if ahead.ended < len(runs) else "")


def counts(runs: Sequence[SweepRun]) -> str:
    """How many runs are in which state: "11 finished, 1 failed"."""
    found = Counter(run.state for run in runs)
    return ", ".join(
        f"{found[s]} {s}" for s in (*ENDED, "running", "elsewhere", "waiting") if found[s]
    )


def ending_table(runs: Sequence[SweepRun]) -> Table:
    """Every run with how it ended; seconds are those of all its attempts here."""
    table = Table(Column("run", overflow="fold"), "state", "tries", "epochs", "seconds", "why")
    for run in runs:
        seconds, tries = (f"{run.seconds:.0f}", str(run.tries)) if run.tries else ("", "")
        table.add_row(
            run.directory.path.name,
            run.state,
            tries,
            f"{run.done()}/{run.epochs}",
            seconds,
            run.error,
        )
    return table


def group_table(runs: Sequence[SweepRun]) -> Table:
    """Mean and sample standard deviation of the per-slice F1 over the seeds of each group, as far as they ended."""
    ended = [run for run in runs if run.state in ("finished", "resumed", "skipped")]
    scores = {str(run.directory.path): final_scores(run.directory) for run in ended}
    groups: dict[str, list[dict[str, dict[str, float]]]] = {}
    for run in runs:
        if str(run.directory.path) in scores:
            groups.setdefault(run.group, []).append(scores[str(run.directory.path)])
    table = Table(
        "group",
        "runs",
        "class",
        *(f"{split} F1" for split in SCORED_SPLITS),
        title="mean (sd) over seeds",
    )
    for group, found in groups.items():
        for number, name in enumerate(found[0]["validation"]):
            cells = []
            for split in SCORED_SPLITS:
                values = np.array([one[split].get(name, np.nan) for one in found])
                spread = f" ({values.std(ddof=1):.3f})" if len(values) > 1 else ""
                cells.append(f"{values.mean():.3f}{spread}")
            table.add_row(*((group, str(len(found))) if number == 0 else ("", "")), name, *cells)
        table.add_section()
    return table
