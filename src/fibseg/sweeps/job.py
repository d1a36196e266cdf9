"""One run of a sweep, as the process sees it that trains it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fibseg.config.messages import sentence
from fibseg.errors import FibsegError, RunTakenError
from fibseg.runs.directory import RunDirectory
from fibseg.sweeps.table import begin_line


@dataclass(frozen=True)
class Task:
    """What a worker needs: Hydra's context and state, the function to call, the composed configuration, its folder."""

    context: HydraContext
    function: TaskFunction
    singletons: dict[Any, Any]
    config: DictConfig
    directory: RunDirectory
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        result: what Hydra gives; its return value is a FibsegError of one sentence if the run failed.
        taken: another process is in the run.
        finished_before: the run had been finished when it had found its place, and was only looked at.
        seconds: from its place on a GPU or on cores to the end.
    """

    result: JobReturn
    taken: bool = False
    finished_before: bool = False
    seconds: float = 0.0


def failure(error: Exception) -> Outcome:
    """An attempt that failed before Hydra's part of it began."""
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = FibsegError(sentence(error))
    return Outcome(result)


def run_task(task: Task, place: AbstractContextManager[str]) -> Outcome:
    """Wait for the place and run, with all that is printed added to log.txt of the run.

    An error of the run is told, not raised.
    """
    try:
        os.chdir(task.folder)  # paths of the configuration may be relative
        setup_globals()
        Singleton.set_state(task.singletons)
        with output_to(task.directory.log):
            print("waiting for a place", flush=True)
            with place as where:
                print(begin_line(os.getpid(), where), flush=True)
                return _run(task)
    except Exception as error:  # no place, no log: it would be the same with the next attempt
        return failure(error)


def _run(task: Task) -> Outcome:
    if (
        not task.directory.is_free()
    ):  # asked first: it may end while we begin, and would look like ours
        return Outcome(JobReturn(status=JobStatus.FAILED), taken=True)
    started, finished_before, taken = time.time(), task.directory.scores.exists(), False
    result = run_job(
        task.function, task.config, "hydra.sweep.dir", "hydra.sweep.subdir", task.context
    )
    if result.status == JobStatus.FAILED:
        error = result._return_value
        taken = isinstance(error, RunTakenError)
        if not taken:
            keep_error(task.directory, error, started)
        result.return_value = FibsegError(sentence(error))
    return Outcome(result, taken, finished_before, time.time() - started)


def keep_error(directory: RunDirectory, error: BaseException, started: float) -> None:
    """Print what happened, and write error.txt where the run has not done so itself since it started."""
    text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)
    told = directory.error.exists() and directory.error.stat().st_mtime >= started - 1
    if not told and not directory.scores.exists():
        directory.error.write_text(text, encoding="utf-8")


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Add what this process and its children print to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
