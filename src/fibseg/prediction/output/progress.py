"""How far a prediction is: a bar on a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

_T = TypeVar("_T")

SECONDS_BETWEEN_LINES = 30
FIRST_LINE_AFTER = 4
"""Progress without a terminal: a line after some slices, then one every so many seconds."""


class SliceProgress:
    """The progress of labelling, as a context; `update` says how many slices are labelled."""

    def __init__(self, count: int, console: Console, labels_now: bool = False):
        """Show nothing yet.

        Args:
            count: of slices that are missing at the start.
            console: takes the bar or the lines.
            labels_now: whether the labelling begins with the context, and no process must start.
        """
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        ]
        self._console = console
        self._count = count
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("labelling", total=count, speed="")
        self._has_first_line = False
        # When the first slices were labelled, and how many: before that, models are loaded.
        self._first: tuple[float, int] | None = None
        self._labels_now = labels_now

    def __enter__(self) -> SliceProgress:
        self._start = time.monotonic()
        self._last_line = self._start
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, done: int, processes: int = 1) -> None:
        """Show how many slices are labelled by how many processes, and the time that is left."""
        now = time.monotonic()
        if not done:
            return
        start, before = self._first = self._first or (now, done)
        if done == before:
            return
        speed = (done - before) / max(now - start, 1e-9)
        if self._labels_now:
            # The first slices may come all at once, when the last of them is ready.
            speed = min(speed, done / max(now - self._start, 1e-9))
        by = f" by {processes} processes" if processes != 1 else ""
        self._bar.update(
            self._task,
            completed=done,
            speed=f"{speed:.2f} slices/s",
            description=f"labelling{by}",
        )
        # The first line comes early: the first slices show whether the time will do.
        is_first = done >= FIRST_LINE_AFTER and not self._has_first_line
        is_due = is_first or now - self._last_line > SECONDS_BETWEEN_LINES
        if not is_due or self._console.is_terminal:
            return
        self._has_first_line = True
        self._last_line = now
        left = max(0, self._count - done) / speed
        self._console.print(
            f"slice {done} of {self._count}{by}, {speed:.2f} slices/s, {left:.0f} s left"
        )


def with_progress(slices: Iterable[_T], count: int, console: Console) -> Iterator[_T]:
    """Pass slices on, `count` where no other process takes some, and show how far they are."""
    with SliceProgress(count, console, labels_now=True) as progress:
        for done, labelled in enumerate(slices, 1):
            progress.update(done)
            yield labelled
