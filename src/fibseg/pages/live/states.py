"""States of the runs in a folder, read from their files while they train."""

from __future__ import annotations

import csv
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from fibseg.errors import FibsegError
from fibseg.pages.curves import learning_curves, thinned
from fibseg.pages.vega import ChartedRun, chart_content
from fibseg.runs.directory import RunDirectory, is_run
from fibseg.runs.identity import read_config
from fibseg.runs.results import has_diverged, read_metrics

STATES = ("failed", "diverged", "stopped", "running", "finished")
"""In the order of the page: what needs a person comes before what has ended well."""

_KEPT = ("epoch", "val_loss", "val_f1")
"""Columns of metrics.csv that the page shows."""

_LOCKS = Path("/proc/locks")

_QUIET_EPOCHS = 3
"""Epochs without a sign of life after which a run counts as stopped."""

_QUIET_SECONDS = 180.0
"""The least such time: preparing data takes a while before the first epoch."""


@dataclass
class WatchedRun:
    """What is known of one run; files are read again only where they have changed.

    Attributes:
        path: its directory.
        name: path below the watched folder.
        configuration: its name without seed and hash.
        seed: its seed.
        epochs: epochs of the whole training; 0 where its config.yaml does not say.
        state: one of STATES.
        reason: why it failed, or stopped; else empty.
        epochs_done: epochs that have ended.
        metrics: rows of metrics.csv, as many as the page draws.
        pace: seconds per epoch; NaN before one has ended under watch.
        picture: newest picture of labelled slices, below the watched folder; or empty.
        picture_time: when it was written, in seconds since 1970.
    """

    path: Path
    name: str
    configuration: str
    seed: int
    epochs: int = 0
    state: str = "stopped"
    reason: str = ""
    epochs_done: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    pace: float = math.nan
    picture: str = ""
    picture_time: float = 0.0
    _diverged: bool = False
    _config_time: float = 0.0
    _metrics_time: float = 0.0
    _paces: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    def read(self, folder: Path, locked: set[int] | None, now: float) -> None:
        """Read what has changed; `locked` are inodes of lock files, None where nobody knows."""
        run = RunDirectory(self.path)
        self._read_config(run)
        self._read_metrics(run)
        self.state, self.reason = self._state(run, locked, now)
        newest = _newest_picture(run)
        self.picture_time = _changed(newest)
        self.picture = newest.relative_to(folder).as_posix() if self.picture_time else ""

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last epoch ends, at its own pace; None where that is not known."""
        if self.state != "running" or not self.epochs or math.isnan(self.pace):
            return None
        since = now - self._metrics_time
        return max(0.0, self.pace * (self.epochs - self.epochs_done) - since)

    def row(self, now: float) -> dict[str, Any]:
        """What the page says of the run."""
        last = self.metrics[-1] if self.metrics else {}
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "epoch": self.epochs_done,
            "epochs": self.epochs,
            "val_loss": _finite(last.get("val_loss")),
            "val_f1": _finite(last.get("val_f1")),
            "left": self.seconds_left(now),
            "picture": self.picture,
            "picture_time": self.picture_time,
        }

    def _read_config(self, run: RunDirectory) -> None:
        changed = _changed(run.config)
        if changed == self._config_time:
            return
        self._config_time = changed
        try:
            config = read_config(run) or {}
            self.epochs = int(config["training"]["epochs"])
            self.seed = int(config["seed"])
        # Half written, of another version, or of a model without epochs.
        except (FibsegError, OSError, KeyError, TypeError, ValueError):
            self.epochs = 0

    def _read_metrics(self, run: RunDirectory) -> None:
        changed = _changed(run.metrics)
        if changed == self._metrics_time:
            return
        try:
            rows = read_metrics(run.metrics)
            epochs = int(rows[-1]["epoch"]) + 1 if rows else 0
        # A row that is half written will be whole at the next look; others are of no run.
        except (OSError, ValueError, KeyError, OverflowError, csv.Error):
            return
        self._diverged = any(map(has_diverged, rows))
        # Of five hundred epochs of a hundred runs no more than the page draws.
        self.metrics = [{name: row[name] for name in _KEPT if name in row} for row in thinned(rows)]
        if self.epochs_done < epochs and self._metrics_time:
            self._paces.append((changed - self._metrics_time) / (epochs - self.epochs_done))
            # A night without a process is in one of them only.
            self.pace = median(self._paces)
        self._metrics_time = changed
        self.epochs_done = epochs

    def _state(self, run: RunDirectory, locked: set[int] | None, now: float) -> tuple[str, str]:
        # Before the scores: earlier versions scored such a run, and no comparison takes it.
        if self._diverged:
            return "diverged", "its loss became infinite or no number"
        if run.scores.exists():
            return "finished", ""
        if locked is not None and _inode(self.path / ".lock") in locked:
            return "running", ""
        if run.error.exists():
            reason = _last_line(run.error)
            is_stopped = reason.startswith(("KeyboardInterrupt", "Terminated"))
            return ("stopped", "it was interrupted") if is_stopped else ("failed", reason)
        # The process may be on another machine, whose locks are not in the table of this one.
        alive = max(map(_changed, (run.config, run.metrics, run.log, run.last)))
        quiet = _QUIET_SECONDS if math.isnan(self.pace) else _QUIET_EPOCHS * self.pace
        if now - alive < max(_QUIET_SECONDS, quiet):
            return "running", ""
        return "stopped", f"no sign of life for {round((now - alive) / 60)} min"


class Watcher:
    """The runs in a folder and one level below; `look` reads what has changed since the last look.

    Not for several threads at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: dict[Path, WatchedRun] = {}

    def look(self) -> list[WatchedRun]:
        """Read the folder again: its runs, those that need a person first."""
        now = time.time()
        locked = locked_inodes()
        runs = {path: self._runs.get(path) or self._new(path) for path in run_folders(self.folder)}
        self._runs = runs
        for run in runs.values():
            try:
                run.read(self.folder, locked, now)
            # One run that cannot be read is no reason to show none.
            except OSError as error:
                run.state = "failed"
                run.reason = str(error)
        return sorted(runs.values(), key=lambda run: (STATES.index(run.state), run.name))

    def _new(self, path: Path) -> WatchedRun:
        configuration, _, ending = path.name.rpartition("-s")
        seed = ending.partition("-")[0]
        return WatchedRun(
            path=path,
            name=path.relative_to(self.folder).as_posix(),
            configuration=configuration or path.name,
            seed=int(seed) if seed.isdecimal() else 0,
        )


def page_content(runs: list[WatchedRun]) -> dict[str, Any]:
    """All that the page needs, as JSON can hold it: a row for each run, and learning curves."""
    now = time.time()
    configurations = sorted({run.configuration for run in runs})
    # By name, so that curves keep their places when a run changes its state.
    by_name = sorted(runs, key=lambda run: run.name)
    charted = [
        ChartedRun(run.name, run.seed, configurations.index(run.configuration)) for run in by_name
    ]
    charts = [
        chart for chart in learning_curves([run.metrics for run in by_name]) if not chart.is_empty
    ]
    return {
        "runs": [run.row(now) for run in runs],
        "curves": chart_content(charts, configurations, [], charted),
    }


def run_folders(folder: Path) -> Iterator[Path]:
    """Run directories in a folder and one level below, in order of name."""
    for child in _folders(folder):
        if is_run(child):
            yield child
        else:
            yield from (grandchild for grandchild in _folders(child) if is_run(grandchild))


def locked_inodes() -> set[int] | None:
    """Inodes of the files that processes of this machine lock; None where the system does not say.

    Taking the lock of a run to see whether it is free would keep out a run that starts then.
    """
    try:
        lines = _LOCKS.read_text().splitlines()
        # As "1: FLOCK  ADVISORY  WRITE 4242 fe:01:9877 0 EOF"; a waiting process has "->" in front.
        return {int(line.split()[5].rpartition(":")[2]) for line in lines if "->" not in line}
    except (OSError, ValueError, IndexError):
        return None


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    # Removed at this moment, or not ours to read.
    except OSError:
        return []


def _changed(path: Path) -> float:
    """When a file was last changed, in seconds since 1970; 0 without it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


def _newest_picture(run: RunDirectory) -> Path:
    """The last picture of labelled slices, which need not exist."""
    panels = sorted(run.figures.glob("panel-*.png"))
    return max((*panels[-1:], run.picture("validation")), key=_changed)


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
