"""What a sweep expects of a pool, which runs its tasks."""

from __future__ import annotations

from typing import Protocol

from fibseg.sweeps.job import Outcome, Task


class Pool(Protocol):
    """Runs tasks side by side, each in its own process.

    Attributes:
        retries: how often a run is started again after its process died.
        where: a description of the machines, for the first line of a sweep.
    """

    retries: int
    where: str

    def slots(self) -> int:
        """How many tasks can run at once at this moment."""

    def start(self, task: Task) -> int:
        """Start a task; returns a number by which `wait` reports it."""

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended within this time, by number.

        The value is the outcome, or a text that says why the process died.
        """

    def close(self) -> None:
        """End tasks that still run, and release everything."""
