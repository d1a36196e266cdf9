"""The driver of predictions: worker processes of a pool share the slices of a stack.

Which process labels which slices is settled by locks beside the output (`fibseg.prediction`), so
that the driver only starts workers, starts those again that died, and shows how far they are.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from rich.console import Console

from fibseg.config.compose import predict_config, without_hydra
from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.files import partial_path, remove, remove_partials
from fibseg.machine import cores, plain_console
from fibseg.prediction.job import predict_stack
from fibseg.prediction.output.blocks import LEAST_IN_BLOCK
from fibseg.prediction.output.outputs import finished_count, started_folder
from fibseg.prediction.output.progress import SliceProgress
from fibseg.stack import check_output, open_stack
from fibseg.sweeps.job import Outcome, failed_outcome, output_to
from fibseg.sweeps.plan import HydraProgram
from fibseg.sweeps.pool import Pool
from fibseg.sweeps.progress import begin_line

_ONLY_IN_LOG = re.compile(r"---|waiting for a slot|slice \d+ of|\d+ of \d+ slices are (lab|miss)")
"""Begins the lines of a worker that are not shown: the driver counts the slices of all workers."""


_FRUITLESS_PAUSE = 10.0
"""Seconds before a worker is started again where the last one found no free slice."""

_MOST_FRUITLESS = 3
"""How often that may happen without a slice labelled in between."""


@dataclass(frozen=True)
class LabellingTask:
    """A worker process that labels slices until none is left that no other one has.

    Attributes:
        config: of the prediction.
        log: file that takes what the worker prints; its folder goes with the driver's interest.
        working_directory: where the command was given; paths may be relative to it.
        joins: whether others have begun; where they have finished meanwhile, nothing is done.
    """

    config: PredictConfig
    log: Path
    working_directory: Path
    joins: bool = False

    @property
    def device(self) -> str:
        """The device that the configuration asks for."""
        return self.config.device

    def run(self, slot: AbstractContextManager[str]) -> Outcome:
        """Label slices in this process; the result says whether the outputs are there."""
        started = time.time()
        try:
            os.chdir(self.working_directory)
            # A job that has waited in a queue until the others had finished.
            is_over = self.joins and not started_folder(Path(self.config.output)).exists()
            if is_over or not self.log.parent.exists():
                return Outcome(JobReturn(status=JobStatus.COMPLETED, _return_value=False))
            with output_to(self.log):
                print("waiting for a slot", flush=True)
                all_cores = cores()
                with slot as description:
                    print(begin_line(os.getpid(), description), flush=True)
                    # Others have the rest of the cores, and as much memory for each of theirs.
                    result = self._label(cores() / all_cores)
            return Outcome(result, seconds=time.time() - started)
        except Exception as error:
            return failed_outcome(error)

    def _label(self, memory_share: float) -> JobReturn:
        console = plain_console(soft_wrap=True, highlight=False)
        try:
            is_finished = predict_stack(self.config, console, memory_share)
        except FibsegError:
            raise
        except Exception:
            traceback.print_exc()
            raise
        return JobReturn(status=JobStatus.COMPLETED, _return_value=is_finished)


def launch_predictions(
    program: HydraProgram,
    job_overrides: Sequence[Sequence[str]],
    make_pool: Callable[[Path], Pool],
) -> list[JobReturn]:
    """Label stacks one after the other, each by all workers of a pool.

    Args:
        program: predict.py.
        job_overrides: of each prediction.
        make_pool: makes the pool, with a folder for its files.

    Returns:
        One result per prediction, in their order. Results of those that failed hold a FibsegError.

    Raises:
        FibsegError: a mistake that was noticed before a worker started.
    """
    setup_globals()
    configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)
    console = plain_console(soft_wrap=True, highlight=False)
    predictions = []
    for overrides in job_overrides:
        composed = program.context.config_loader.load_sweep_config(program.config, list(overrides))
        predictions.append(Prediction(predict_config(without_hydra(composed)), console))
    try:
        pool = make_pool(predictions[0].folder)
    # A key that the pool does not know, as Python reports an unknown argument.
    except TypeError as error:
        raise FibsegError(f"hydra.launcher: {error}.") from error
    console.print(f"{pool.slots()} processes at a time ({pool.where})")
    try:
        return [
            prediction.drive(pool, list(overrides))
            for prediction, overrides in zip(predictions, job_overrides, strict=True)
        ]
    finally:
        pool.close()
        for prediction in predictions:
            prediction.remove_logs()


class Prediction:
    """One prediction and the workers that label its slices."""

    def __init__(self, config: PredictConfig, console: Console):
        """Check what can be checked without a model.

        Raises:
            FibsegError: the image cannot be read, or an output cannot be written.
        """
        self._config = config
        self._console = console
        self._output = Path(config.output)
        self._depth = open_stack(config.image).shape[0]
        check_output(self._output, overwrite=True)
        logs = self._output.with_name(f"{self._output.name}.workers")
        remove_partials(logs)
        self.folder = partial_path(logs.absolute(), shared=True)
        self._log_by_number: dict[int, Path] = {}
        self._read_by_log: dict[Path, int] = {}
        self._shown: set[str] = set()
        self._running: set[int] = set()
        self._errors: list[str] = []
        self._deaths = 0
        self._fruitless = 0
        self._is_finished = False
        self._is_none_free = False
        self._keeps_logs = False

    def drive(self, pool: Pool, overrides: list[str]) -> JobReturn:
        """Start workers until every slice is labelled, or nobody can label the others."""
        result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        before = self._count()
        last = before
        with SliceProgress(self._depth - before, self._console) as progress:
            while self._start_workers(pool) or self._running:
                # Without a task at work, where a cluster has no room, the pool does not wait.
                if not self._running:
                    time.sleep(_FRUITLESS_PAUSE if self._fruitless else 1)
                for number, outcome in pool.wait(1.0).items():
                    self._handle(number, outcome)
                self._show_lines()
                done = self._count()
                # Only those count that nothing came of: over days many nodes may leave.
                self._deaths = self._deaths if done <= last else min(self._deaths, 1)
                self._fruitless = self._fruitless if done <= last else 0
                last = done
                progress.update(max(0, done - before), len(self._running))
                if self._is_finished:
                    break
                if self._fruitless > _MOST_FRUITLESS:
                    self._errors.append(
                        f"{self._output}: no slice is free: processes that were started otherwise "
                        "have the rest and finish it, or the workers do not see its folder"
                    )
                    break
                if self._deaths > pool.retries:
                    self._errors.append(
                        f"{self._deaths} processes died one after the other; killed, or out of "
                        f"memory? See {self.folder}"
                    )
                    self._keeps_logs = True
                    break
        for text in self._errors if self._is_finished else ():
            self._console.print(f"warning: a process failed: {text}")
        if not self._is_finished:
            result.status = JobStatus.FAILED
            result.return_value = FibsegError(
                self._errors[-1] if self._errors else f"{self._output}: slices are missing."
            )
        return result

    def _count(self) -> int:
        return self._depth if self._is_finished else finished_count(self._output)

    def _start_workers(self, pool: Pool) -> bool:
        """Start as many workers as there is work and room for; whether there is any."""
        # What is left is in the hands of the others.
        if self._is_finished or (self._is_none_free and self._running):
            return bool(self._running)
        blocks = -(-(self._depth - self._count()) // LEAST_IN_BLOCK)
        # Until the first one has found no mistake, and said what will be done.
        is_begun = (started_folder(self._output) / "identity.json").exists()
        most = max(1, blocks) if is_begun else 1
        # The place of one that failed stays empty: it would fail again.
        slots = pool.slots()
        failed = len(self._errors)
        wanted = min(most, slots - failed) if is_begun else min(most, slots) - failed
        while len(self._running) < wanted:
            log = self.folder / f"{len(self._log_by_number)}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            task = LabellingTask(self._config, log, Path.cwd(), joins=is_begun)
            number = pool.start(task)
            self._log_by_number[number] = log
            self._running.add(number)
        return wanted > 0 or not slots

    def _handle(self, number: int, outcome: Outcome | str) -> None:
        # Of an earlier prediction, where it waited in a queue.
        if number not in self._running:
            return
        self._running.remove(number)
        if isinstance(outcome, str):
            self._deaths += 1
            self._is_none_free = False
            self._console.print(f"a process died ({outcome}); others take its slices")
        elif outcome.result.status == JobStatus.FAILED:
            # Not `return_value`, which raises the error of a failed job.
            self._errors.append(str(outcome.result._return_value))
        else:
            # Others may say no in the same breath: the last one alone makes the output.
            self._is_finished |= bool(outcome.result.return_value)
            self._is_none_free = True
            self._fruitless += not self._running

    def _show_lines(self) -> None:
        """Print what the workers have printed, each line once for all of them."""
        for log in self._log_by_number.values():
            if not log.exists():
                continue
            with log.open("rb") as file:
                file.seek(self._read_by_log.get(log, 0))
                # A line that is half written is read the next time.
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read_by_log[log] = self._read_by_log.get(log, 0) + len(whole + newline)
            for line in whole.decode(errors="replace").splitlines():
                if line not in self._shown and not _ONLY_IN_LOG.match(line):
                    self._shown.add(line)
                    self._console.print(line)

    def remove_logs(self) -> None:
        """Delete the logs of the workers, unless they say more than the error does."""
        if not self._keeps_logs:
            remove(self.folder)
