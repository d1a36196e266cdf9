"""One run of a sweep, inside the process that trains it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fibseg.config.messages import sentence
from fibseg.errors import FibsegError, RunTakenError
from fibseg.files import writing
from fibseg.runs.directory import RunDirectory
from fibseg.runs.masking import without_secrets
from fibseg.sweeps.progress import begin_line

CLOCK_TOLERANCE = 1
"""Seconds by which the times of files may be behind: some file systems store whole seconds."""


@dataclass(frozen=True)
class Task:
    """What a worker process needs to train one run.

    Attributes:
        context: Hydra's configuration loader and callbacks.
        function: the function that trains a run from its configuration.
        singletons: Hydra's global state, which the worker takes over.
        config: the composed configuration of the run, with the node `hydra`.
        directory: the run directory.
        working_directory: where the sweep was started; paths may be relative to it.
    """

    context: HydraContext
    function: TaskFunction
    singletons: dict[Any, Any]
    config: DictConfig
    directory: RunDirectory
    working_directory: Path

    @property
    def device(self) -> str:
        """The device that the configuration asks for."""
        return str(self.config.machine.device)

    def run(self, slot: AbstractContextManager[str]) -> Outcome:
        """Train the run in this process."""
        return run_task(self, slot)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        result: Hydra's result; if the run failed, its return value is a FibsegError.
        taken: whether another process trains the run.
        finished_before: whether the run was finished already when the attempt got its slot.
        seconds: from getting the slot to the end.
    """

    result: JobReturn
    taken: bool = False
    finished_before: bool = False
    seconds: float = 0.0


def failed_outcome(error: Exception) -> Outcome:
    """The outcome of an attempt that failed before Hydra started the job."""
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = FibsegError(sentence(error))
    return Outcome(result)


def run_task(task: Task, slot: AbstractContextManager[str]) -> Outcome:
    """Wait for the slot and train the run; everything it prints is appended to its log.txt.

    An error of the run is part of the outcome and is not raised.
    """
    try:
        # A worker may start elsewhere, and paths of a configuration may be relative.
        os.chdir(task.working_directory)
        setup_globals()
        # Resolvers and HydraConfig live in global state, which a new process lacks.
        Singleton.set_state(task.singletons)
        with output_to(task.directory.log):
            # So that the log of a run that waits is not empty.
            print("waiting for a slot", flush=True)
            with slot as description:
                print(begin_line(os.getpid(), description), flush=True)
                return _run(task)
    # Without a slot or a log, another attempt would fail in the same way: this is no death.
    except Exception as error:
        return failed_outcome(_named(error, task.directory))


def _run(task: Task) -> Outcome:
    # Asked before anything else: if the other process ended in the meantime, its finished run
    # would look as if it had been trained here.
    if not task.directory.is_free():
        return Outcome(JobReturn(status=JobStatus.FAILED), taken=True)
    started = time.time()
    # Another sweep may have finished it while this attempt waited for its slot.
    finished_before = task.directory.scores.exists()
    taken = False
    result = run_job(
        task_function=task.function,
        config=task.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=task.context,
    )
    if result.status == JobStatus.FAILED:
        # Not `return_value`, which raises the error of a failed job.
        error = result._return_value
        taken = isinstance(error, RunTakenError)
        if not taken:
            write_error(task.directory, error, started)
        result.return_value = FibsegError(sentence(_named(error, task.directory)))
    return Outcome(result, taken, finished_before, time.time() - started)


def _named(error: Exception, directory: RunDirectory) -> Exception:
    """The error of a run; one of a full disk names a file, be it the log that was printed to."""
    try:
        with writing(directory.log):
            raise error
    except Exception as named:
        return named


def write_error(directory: RunDirectory, error: BaseException, started: float) -> None:
    """Print the traceback, and write error.txt unless the run has written it since `started`."""
    # To log.txt: an error in a worker would reach no terminal.
    text = without_secrets("".join(traceback.format_exception(error)))
    # On a full disk, this error is the cause of those of writing it down; the driver gets it.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    is_written = (
        directory.error.exists() and directory.error.stat().st_mtime >= started - CLOCK_TOLERANCE
    )
    if not is_written and not directory.scores.exists():
        directory.write_error(text)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append what this process and its children print to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is buffered was printed before, and belongs to where it was printed.
    sys.stdout.flush()
    sys.stderr.flush()
    # File descriptors are redirected and not sys.stdout: libraries in C and children write there.
    kept_descriptors = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    # Appended, so that the log of a resumed run keeps its earlier attempts.
    with path.open("ab") as file:
        for descriptor in kept_descriptors:
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        # Before the descriptors are put back, or buffered text would go to the wrong file. A full
        # disk costs lines of the log, not a run that is finished.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for descriptor, kept_descriptor in kept_descriptors.items():
            os.dup2(kept_descriptor, descriptor)
            os.close(kept_descriptor)
