"""What drivers expect of a pool, which runs their tasks, and a pool of a task."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from fibseg.errors import FibsegError
from fibseg.sweeps.job import Outcome


class PoolTask(Protocol):
    """What a worker process does; it must bear pickling."""

    @property
    def device(self) -> str:
        """The device that its configuration asks for."""

    def run(self, slot: AbstractContextManager[str]) -> Outcome:
        """Wait for the slot and do the work; an error is a part of the outcome."""


# A protocol and no base class: the pools of Ray and Slurm share no code, and tests bring their own.
class Pool(Protocol):
    """Runs tasks side by side, each in its own process.

    Attributes:
        retries: how often a run is started again after its process died.
        where: a description of the machines, for the first line that is printed.
    """

    retries: int
    where: str

    def slots(self) -> int:
        """How many tasks can run at once at this moment."""

    def start(self, task: PoolTask) -> int:
        """Start a task; returns a number by which `wait` reports it."""

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended within this time, by number.

        The value is the outcome, or a text that says why the process died.
        """

    def close(self) -> None:
        """End tasks that still run, and release everything."""


def require_at_least(least: int, can_be_null: bool = False, **options: Any) -> None:
    """Check keys of a launcher by their names: whole numbers from `least` on.

    Raises:
        FibsegError: one is smaller, no whole number, or null where it must be given.
    """
    for name, value in options.items():
        if value is None and can_be_null:
            continue
        # Launchers have no schema in conf/, so that a text or a fraction may arrive here.
        if not (isinstance(value, int) and value >= least):
            raise FibsegError(
                f"hydra.launcher.{name}: {value} is impossible; expected {least} or more."
            )
