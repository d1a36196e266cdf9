"""What takes long, in threads beside the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from napari.qt.threading import thread_worker

from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.proposing import judged_slices, propose_slices
from fibseg.annotation.rounds import Round, begin_round
from fibseg.annotation.validation import finish_round, finish_rounds
from fibseg.arrays import Floats, UInt8
from fibseg.machine import Compute, choose_device, cores


def _compute() -> Compute:
    return Compute(choose_device("auto"), "32", 16, cores())


@thread_worker(start_thread=False)
def proposing(project: AnnotationProject, run: Path, slices: Sequence[int]) -> Iterator[int]:
    """Propose labels for slices; yields each when it is done."""
    yield from propose_slices(project, run, slices, _compute())


@thread_worker(start_thread=False)
def judging(
    project: AnnotationProject, run: Path, slices: Sequence[int], turned: bool
) -> Iterator[tuple[int, UInt8, Floats]]:
    """Judge slices; yields what `judged_slices` gives."""
    yield from judged_slices(project, run, slices, _compute(), turned=turned)


@thread_worker(start_thread=False)
def beginning(project: AnnotationProject) -> Round:
    """Finish what an earlier window left, and begin a round; returns it."""
    finish_rounds(project, _compute())
    return begin_round(project)


@thread_worker(start_thread=False)
def finishing(project: AnnotationProject, entry: Round, seconds: float) -> Round:
    """Compare the model of a round that has ended; returns the round with its scores."""
    return finish_round(project, entry, seconds, _compute())


class Workers:
    """The threads that run; `changed` is called when one has begun or ended."""

    def __init__(self, changed: Callable[[], None], failed: Callable[[Exception], None]):
        self._changed = changed
        self._failed = failed
        self._running: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._running)

    def start(
        self,
        worker: Any,
        step: Callable[[Any], None] | None = None,
        done: Callable[[Any], None] | None = None,
    ) -> None:
        """Start a worker; `step` gets what it yields, `done` what it returns."""
        # Of functions that yield alone.
        if step is not None:
            worker.yielded.connect(step)
        if done is not None:
            worker.returned.connect(done)
        worker.errored.connect(self._failed)
        worker.finished.connect(lambda: self._ended(worker))
        self._running.append(worker)
        self._changed()
        worker.start()

    def stop(self) -> None:
        """End all of them after their slice."""
        for worker in list(self._running):
            worker.quit()
            worker.await_workers()

    def _ended(self, worker: Any) -> None:
        if worker in self._running:
            self._running.remove(worker)
        self._changed()
