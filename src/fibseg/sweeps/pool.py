"""What a sweep asks of those who run its tasks."""

from __future__ import annotations

from typing import Protocol

from fibseg.sweeps.job import Outcome, Task


class Pool(Protocol):
    """Runs tasks side by side, each in a process of its own."""

    retries: int
    where: str

    def slots(self) -> int:
        """How many tasks can run at once, as things are now."""

    def start(self, task: Task) -> int:
        """Begin; gives a number for the task."""

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended within this time: their outcome, or what their process died of."""

    def close(self) -> None:
        """Let go; tasks that still run are ended."""
