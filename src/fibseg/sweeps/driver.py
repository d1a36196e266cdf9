"""The driver of a sweep: checks every run before the first begins, keeps the places busy, and loses none."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.live import Live

from fibseg.config import compose as configuration
from fibseg.config.checks import is_network
from fibseg.config.derived import model_arguments
from fibseg.config.schemas import TrainConfig
from fibseg.data.description import class_names
from fibseg.data.slices import data_hash, load_slices
from fibseg.errors import FibsegError
from fibseg.files import require_disk
from fibseg.models.kinds import network_size
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import mean_validation_f1, read_scores
from fibseg.sweeps.job import Outcome, Task
from fibseg.sweeps.pool import Pool
from fibseg.sweeps.table import SweepRun, counts, ending_table, event_line, group_table, live_table

BYTES_PER_WEIGHT = 4
STATE = 9
"""Weights and Adam's two moments, in three checkpoints: last, the one before, and the one being written."""


@dataclass(frozen=True)
class Planned:
    """A run before the start."""

    task: Task
    typed: TrainConfig
    overrides: list[str]


def launch_sweep(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    make_pool: Callable[..., Pool],
    options: dict[str, Any],
) -> list[JobReturn]:
    """Train every run that is not finished; one result per job, in their order.

    Results of runs that failed hold a FibsegError; Hydra's own sweeper raises the first one.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 160  # of the tables in a log file
    planned = [
        plan(context, function, config, list(overrides), first + index)
        for index, overrides in enumerate(job_overrides)
    ]
    once = {one.task.directory.path: one for one in planned}
    labels = groups_of([one.overrides for one in once.values()])
    runs = [
        SweepRun(
            one.task.directory,
            label,
            one.typed.seed,
            one.typed.training.epochs if is_network(one.typed) else 1,
        )
        for one, label in zip(once.values(), labels, strict=True)
    ]
    results = finished_before(list(once.values()), runs)
    try:
        pool = make_pool(**options)
    except TypeError as error:
        raise FibsegError(f"hydra.launcher: {error}.") from error
    try:
        check_disk(list(once.values()), pool.slots())
        console.print(f"{len(runs)} runs, {pool.slots()} at a time ({pool.where})")
        start = time.monotonic()
        Sweep([one.task for one in once.values()], runs, results, pool, console).drive()
    finally:
        pool.close()
    busy, took = sum(run.seconds for run in runs), time.monotonic() - start
    console.print(group_table(runs))
    console.print(f"{busy:.1f} s of runs in {took:.1f} s")
    order = list(once)
    return [results[order.index(one.task.directory.path)] for one in planned]


def plan(
    context: HydraContext, function: TaskFunction, config: DictConfig, overrides: list[str], n: int
) -> Planned:
    """Compose and check one job; FibsegError on an impossible value."""
    composed = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id, composed.hydra.job.num = str(n), n
    HydraConfig.instance().set_config(composed)
    own = copy.deepcopy(composed)
    with read_write(own), open_dict(own):
        del own["hydra"]
    typed, plain = configuration.train_config(own)
    directory = RunDirectory(configuration.run_path(typed, plain))
    return Planned(
        Task(context, function, Singleton.get_state(), composed, directory, Path.cwd()),
        typed,
        overrides,
    )


def groups_of(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What varies between the jobs, the seed aside.

    >>> groups_of([["data=vnc", "filter=on", "seed=0"], ["data=vnc", "filter=off", "seed=0"]])
    ['filter=on', 'filter=off']
    """
    common = set(job_overrides[0]).intersection(*job_overrides[1:])
    labels = []
    for overrides in job_overrides:
        own = [one for one in overrides if one not in common and not one.startswith("seed=")]
        labels.append(" ".join(own) or "all")
    return labels


def finished_before(planned: Sequence[Planned], runs: Sequence[SweepRun]) -> dict[int, JobReturn]:
    """Results of runs that need no process: finished, with the data as it is now. Reads each data set once.

    A mistake in the data ends the sweep here, before anything begins.
    """
    hashes: dict[str, str] = {}
    results = {}
    for index, one in enumerate(planned):
        data = one.typed.data
        if repr(data) not in hashes:
            hashes[repr(data)] = data_hash(load_slices(data), class_names(data))
        directory = one.task.directory
        if not directory.scores.exists():
            continue
        score = score_of(directory)
        if score is None:  # damaged: the run itself will say so, and fail alone
            continue
        same = read_scores(directory)["run"].get("data_hash") == hashes[repr(data)]
        if same:
            if is_run_free(directory):
                directory.remove_state()  # what a kill after the scores has left
            runs[index].state = "skipped"
            results[index] = JobReturn(
                overrides=one.overrides, status=JobStatus.COMPLETED, _return_value=score
            )
    return results


def score_of(directory: RunDirectory) -> float | None:
    """Of a finished run; None where it is not finished or its files are damaged."""
    try:
        return mean_validation_f1(directory)
    except (FibsegError, KeyError):
        return None


def is_run_free(directory: RunDirectory) -> bool:
    """Whether no process is in the run; one that cannot be entered will say so itself, and fail alone."""
    try:
        return directory.is_free()
    except FibsegError:
        return True


def check_disk(planned: Sequence[Planned], slots: int) -> None:
    """FibsegError if the checkpoints of all runs, or a network, will not fit."""
    sizes: dict[str, int] = {}
    kept, state = 0, 0
    for one in planned:
        if one.task.directory.scores.exists():
            continue
        model = one.typed.model.architecture
        if model == "ilastik":  # keeps no model
            continue
        arguments = model_arguments(one.typed, 1 + len(one.typed.data.classes))
        key = repr((model, arguments, one.typed.patches.size))
        if key not in sizes:
            sizes[key] = BYTES_PER_WEIGHT * network_size(model, arguments, one.typed.patches.size)
        kept += sizes[key]
        if model != "forest":  # which has no optimizer
            state = max(state, sizes[key] * (STATE + 1))
    left = sum(not one.task.directory.scores.exists() for one in planned)
    purpose = (
        f"this sweep ({left} runs to train: best weights of each, and the state of those at work)"
    )
    require_disk(planned[0].task.directory.path, kept + state * min(slots, left), purpose)


class Sweep:
    """Starts tasks while there are places, and starts again those whose process died."""

    def __init__(
        self,
        tasks: Sequence[Task],
        runs: Sequence[SweepRun],
        results: dict[int, JobReturn],
        pool: Pool,
        console: Console,
    ):
        """A run for each task; `results` by position holds those that are there already, and takes the others."""
        self.tasks, self.runs, self.results, self.pool, self.console = (
            tasks,
            runs,
            results,
            pool,
            console,
        )
        self.waiting = deque(index for index in range(len(tasks)) if index not in results)
        self._at_work: dict[int, int] = {}  # number in the pool -> task
        self._live: Live | None = None
        self._told_empty = False
        self._slots = pool.slots()  # as last seen: the live table is drawn by a thread of its own

    def drive(self) -> None:
        """Until every run has ended; then the table of how."""
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                refresh_per_second=1,
                transient=True,
                get_renderable=self._table,
            )
        try:
            with self._live or nullcontext():
                while len(self.results) < len(self.tasks):
                    self._step()
        finally:
            self.console.print(ending_table(self.runs), counts(self.runs))
        failed = [run for run in self.runs if run.state == "failed"]
        for index, run in enumerate(self.runs):
            if run.state == "failed":
                more = f"{len(failed)} of {len(self.runs)} runs failed, see error.txt in their directories; "
                self.results[index].return_value = FibsegError(
                    f"{more}{run.directory.path}: {run.error}"
                )

    def _step(self) -> None:
        self._slots = self.pool.slots()
        while self.waiting and len(self._at_work) < self._slots:
            self._start(self.waiting.popleft())
        if not self._at_work:
            if self.waiting and not self._told_empty:
                self._told_empty = True
                self.console.print("no GPU and no core is there now; the sweep waits for one")
            time.sleep(1)
        for number, outcome in self.pool.wait(1.0).items():
            index = self._at_work.pop(number)
            if isinstance(outcome, str):
                self._died(index, outcome)
            else:
                self._ended(index, outcome)
        for index, run in enumerate(self.runs):
            if run.state == "elsewhere" and is_run_free(run.directory):
                run.state = "waiting"
                self.waiting.append(index)

    def _start(self, index: int) -> None:
        run = self.runs[index]
        if not is_run_free(run.directory):
            self._tell(run, "elsewhere")
            return
        run.tries, run.started, run.done_before, run.begins = (
            run.tries + 1,
            time.time(),
            run.done(),
            run.begun(),
        )
        self._at_work[self.pool.start(self.tasks[index])] = index
        self._tell(run, "running")

    def _died(self, index: int, why: str) -> None:
        run = self.runs[index]
        run.seconds += max(0.0, time.time() - (run.began() or time.time()))
        result = JobReturn(
            overrides=list(self.tasks[index].config.hydra.overrides.task),
            status=JobStatus.COMPLETED,
        )
        if (score := score_of(run.directory)) is not None:  # it died on its way out
            run.directory.remove_state()
            result.return_value = score
            self._keep(index, result, "")
        elif run.tries <= self.pool.retries:
            self.console.print(
                f"{run.directory.path.name}: its process died ({why}); it will go on"
            )
            run.state = "waiting"
            self.waiting.append(index)
        else:
            text = f"its process died {run.tries} times ({why}); killed, or out of memory?"
            run.directory.path.mkdir(
                parents=True, exist_ok=True
            )  # it may have died before it made one
            run.directory.error.write_text(f"{text}\n", encoding="utf-8")
            result.status = JobStatus.FAILED
            self._keep(index, result, text)

    def _ended(self, index: int, outcome: Outcome) -> None:
        run = self.runs[index]
        run.seconds += outcome.seconds
        run.finished_before = outcome.finished_before
        if outcome.taken:
            run.tries -= 1
            self._tell(run, "elsewhere")
        elif outcome.result.status == JobStatus.FAILED:
            self._keep(index, outcome.result, str(outcome.result._return_value))
        else:
            self._keep(index, outcome.result, "")

    def _keep(self, index: int, result: JobReturn, error: str) -> None:
        run = self.runs[index]
        self.results[index] = result
        run.error = error.removeprefix(f"{run.directory.path}: ")
        if error:
            self._tell(run, "failed")
        elif run.finished_before:
            self._tell(run, "skipped")
        else:
            self._tell(run, "resumed" if run.done_before else "finished")

    def _tell(self, run: SweepRun, state: str) -> None:
        run.state = state
        self.console.print(event_line(run, self.runs, self._slots, time.time()))

    def _table(self) -> Any:
        rows = self.console.size.height - 8
        return live_table(self.runs, self._slots, time.time(), rows)
