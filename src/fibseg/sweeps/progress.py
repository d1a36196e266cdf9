"""How far the runs of a sweep are, and how long the sweep will still take.

Everything is read from the run directories, so it also holds for runs on other machines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from fibseg.errors import DivergedError, FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import check_not_diverged, mean_validation_f1, read_metrics

ENDED_STATES = ("finished", "resumed", "skipped", "diverged", "failed")
"""Trained here from the start, or from a checkpoint; finished before or elsewhere; ended without
scores, because its loss became no number, or for another reason."""

CLOCK_FORMAT = "%Y-%m-%d %H:%M:%S"


def begin_line(process: int, slot: str) -> str:
    """The line in log.txt that marks an attempt which has got its slot.

    `SweepRun.began_at` reads it.
    """
    # Text that a person can read, since log.txt is read by people first.
    return f"--- {time.strftime(CLOCK_FORMAT)}, process {process}, {slot}"


@dataclass
class SweepRun:
    """One run of a sweep.

    Attributes:
        directory: its run directory.
        group: the overrides that vary in the sweep, without the seed, as "filter=on".
        seed: its seed.
        epochs: epochs of a whole training.
        state: "waiting", "running", "elsewhere" (another process trains it), "interrupted" (with
            the sweep) or one of ENDED_STATES.
        tries: how often it was started by this sweep.
        started: when it was last started, in seconds since 1970 (`time.time`).
        epochs_before: epochs that were done at that moment.
        attempts_before: attempts that log.txt held at that moment.
        seconds: duration of its attempts in this sweep, added up.
        finished_before: whether it was already finished when its last attempt began.
        error: why it failed.
    """

    directory: RunDirectory
    group: str
    seed: int
    epochs: int
    state: str = "waiting"
    tries: int = 0
    started: float = 0.0
    epochs_before: int = 0
    attempts_before: int = 0
    seconds: float = 0.0
    finished_before: bool = False
    error: str = ""

    @property
    def key(self) -> str:
        """Its path, by which tables of runs are indexed."""
        return str(self.directory.path)

    def attempts(self) -> int:
        """How many attempts have got a slot, according to log.txt."""
        return len(self._begin_times())

    def began_at(self) -> float | None:
        """When its last attempt got a slot, in seconds since 1970; None while it waits for one."""
        begin_times = self._begin_times()
        if len(begin_times) <= self.attempts_before:
            return None
        # The log holds whole seconds, so its time may lie just before the start.
        return max(self.started, time.mktime(time.strptime(begin_times[-1], CLOCK_FORMAT)))

    def last_metrics(self) -> dict[str, float]:
        """The last row of metrics.csv; empty before the end of the first epoch."""
        try:
            rows = read_metrics(self.directory.metrics)
        # A row may be half written at this moment.
        except (OSError, ValueError):
            return {}
        return rows[-1] if rows else {}

    def epochs_done(self) -> int:
        """How many epochs are finished."""
        metrics = self.last_metrics()
        return int(metrics["epoch"]) + 1 if metrics else 0

    def score(self) -> float | None:
        """Mean F1 over the validation slices; None if it is unfinished or its files are damaged."""
        try:
            return mean_validation_f1(self.directory)
        except (FibsegError, KeyError):
            return None

    def has_diverged(self) -> bool:
        """Whether its loss became no number."""
        try:
            check_not_diverged(self.directory)
        except DivergedError:
            return True
        return False

    def is_free(self) -> bool:
        """Whether no process trains it.

        A directory that cannot be entered counts as free: the run itself reports that, and fails
        alone.
        """
        try:
            return self.directory.is_free()
        except FibsegError:
            return True

    def _begin_times(self) -> list[str]:
        try:
            # A program of the run may have written bytes that are no UTF-8.
            log = self.directory.log.read_text(errors="replace")
        except OSError:
            return []
        return re.findall(r"^--- ([^,]*), process ", log, re.M)


@dataclass(frozen=True)
class Outlook:
    """What is left of a sweep.

    Attributes:
        ended: how many runs have ended.
        seconds_by_run: seconds left for each run that has not ended, by `SweepRun.key`.
        seconds: seconds left for the whole sweep; None while there is no pace to estimate from.
    """

    ended: int
    seconds_by_run: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None


def estimate_outlook(runs: Sequence[SweepRun], slots: int, now: float) -> Outlook:
    """Estimate the time left, with `now` in seconds since 1970.

    A run is expected to go on at the mean pace of its group, or at the mean pace of all groups
    while its own has none.
    """
    epochs_done = {run.key: run.epochs_done() for run in runs if run.state not in ENDED_STATES}
    ended = len(runs) - len(epochs_done)
    if not epochs_done:
        return Outlook(ended, seconds=0.0)
    # By group, because models differ in speed, while seeds of one do not.
    paces = _group_paces(runs, epochs_done, now)
    if not paces:
        return Outlook(ended)
    seconds_by_run = {
        run.key: paces.get(run.group, mean(paces.values()))
        * max(0, run.epochs - epochs_done[run.key])
        for run in runs
        if run.key in epochs_done
    }
    has_slot = [run.began_at() is not None for run in runs if run.state == "running"]
    if not all(has_slot):
        # Jobs wait in the queue of a cluster: only the slots that it grants now can be counted on.
        slots = sum(has_slot)
    # Even with many slots, a sweep lasts as long as its longest run.
    seconds = max(sum(seconds_by_run.values()) / max(1, slots), *seconds_by_run.values())
    return Outlook(ended, seconds_by_run, seconds)


def _group_paces(
    runs: Sequence[SweepRun], epochs_done: dict[str, int], now: float
) -> dict[str, float]:
    """Mean seconds per epoch of each group; groups without an epoch so far are left out."""
    paces: dict[str, list[float]] = {}
    for run in runs:
        epochs = epochs_done.get(run.key, run.epochs) - run.epochs_before
        if run.state == "running":
            began_at = run.began_at()
            seconds = 0.0 if began_at is None else now - began_at
        else:
            seconds = run.seconds
        # A resumed run is left out: its seconds are those of all attempts, its epochs only those
        # of the last one.
        if run.state in ("running", "finished") and epochs > 0 and seconds > 0:
            paces.setdefault(run.group, []).append(seconds / epochs)
    return {group: mean(group_paces) for group, group_paces in paces.items()}
