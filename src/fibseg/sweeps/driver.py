"""The driver of a sweep: starts runs while slots are free, and starts those again that died."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fibseg.errors import FibsegError
from fibseg.machine import table_console
from fibseg.sweeps.job import Outcome, Task
from fibseg.sweeps.plan import (
    HydraProgram,
    PlannedRun,
    check_disk,
    finished_results,
    plan_run,
    seed_by_seed,
    sweep_runs,
)
from fibseg.sweeps.pool import Pool
from fibseg.sweeps.progress import SweepRun
from fibseg.sweeps.table import ending_table, event_line, group_table, live_table, state_counts

LOG_WIDTH = 160
"""Characters of a table in a log file, which has no width."""

LINES_AROUND_TABLE = 8
"""Lines of the terminal that the frame and the title of the live table take."""


def launch_sweep(
    program: HydraProgram,
    job_overrides: Sequence[Sequence[str]],
    first_number: int,
    make_pool: Callable[[], Pool],
) -> list[JobReturn]:
    """Train every run that is not finished.

    Two jobs whose configurations are the same, however they are written, are one run.

    Returns:
        One result per job, in their order. Results of runs that failed hold a FibsegError; Hydra's
        own sweeper raises the first one.

    Raises:
        FibsegError: a mistake that was noticed before the first run started.
    """
    setup_globals()
    configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)
    console = table_console(LOG_WIDTH, soft_wrap=True, highlight=False)
    jobs = [
        plan_run(program, overrides, first_number + index)
        for index, overrides in enumerate(job_overrides)
    ]
    # Two ways to write one configuration lead to the same run directory.
    run_by_path = {job.directory.path: job for job in jobs}
    planned = seed_by_seed(run_by_path.values())
    trials = trials_text(program.config, first_number, len(jobs))
    if trials:
        console.print(trials)
    results = _train(planned, make_pool, console)
    position = {run.directory.path: index for index, run in enumerate(planned)}
    return [results[position[job.directory.path]] for job in jobs]


def trials_text(config: DictConfig, first_number: int, count: int) -> str:
    """Which trials of a search these runs are; empty where the sweeper has no number of trials.

    A search hands its trials over a few at a time, which are one sweep to a person.
    """
    total = OmegaConf.select(config, "hydra.sweeper.n_trials")
    if total is None:
        return ""
    last = first_number + count
    which = f"trial {last}" if count == 1 else f"trials {first_number + 1} to {last}"
    return f"{which} of {total}"


def _train(
    planned: Sequence[PlannedRun], make_pool: Callable[[], Pool], console: Console
) -> dict[int, JobReturn]:
    """Drive the sweep from the last checks to the tables at its end; gives results by position."""
    runs = sweep_runs(planned)
    # Before the pool is made: a mistake in the data is reported without waiting for Ray to start.
    results = finished_results(planned, runs)
    try:
        pool = make_pool()
    # A key that the pool does not know, as Python reports an unknown argument.
    except TypeError as error:
        raise FibsegError(f"hydra.launcher: {error}.") from error
    try:
        # Here and not before: how many checkpoints exist at once depends on the slots.
        check_disk(planned, pool.slots())
        console.print(f"{len(runs)} runs, {pool.slots()} at a time ({pool.where})")
        # Not the time of day, which may be set back during a sweep of days.
        start = time.monotonic()
        sweep = Sweep(
            tasks=[planned_run.task for planned_run in planned],
            runs=runs,
            results=results,
            pool=pool,
            console=console,
        )
        sweep.drive()
    finally:
        pool.close()
    seconds = time.monotonic() - start
    console.print(group_table(runs))
    console.print(f"{sum(run.seconds for run in runs):.1f} s of runs in {seconds:.1f} s")
    return results


class Sweep:
    """Starts tasks while slots are free, and starts those again whose process died."""

    def __init__(
        self,
        tasks: Sequence[Task],
        runs: Sequence[SweepRun],
        results: dict[int, JobReturn],
        pool: Pool,
        console: Console,
    ):
        """Prepare a sweep; `drive` runs it.

        Args:
            tasks: what trains each run.
            runs: the state of each run, in the order of `tasks`.
            results: results by position; holds those of finished runs, and receives the rest.
            pool: runs the tasks.
            console: where lines and tables are printed.
        """
        self.tasks = tasks
        self.runs = runs
        self.results = results
        self.pool = pool
        self.console = console
        self.waiting = deque(index for index in range(len(tasks)) if index not in results)
        self._index_by_number: dict[int, int] = {}
        self._has_reported_no_slot = False
        # Kept for the live table, which a thread of its own draws: pools may not be asked there.
        self._slots = pool.slots()

    def drive(self) -> None:
        """Run until every run has ended, then print how each one did."""
        live: AbstractContextManager[object] = nullcontext()
        if self.console.is_terminal:
            live = Live(
                console=self.console,
                refresh_per_second=1,
                transient=True,
                get_renderable=self._table,
            )
        try:
            with live:
                while len(self.results) < len(self.tasks):
                    self._step()
        # Also after Ctrl-C: the table then shows how far each run came.
        finally:
            self._count_interrupted()
            self.console.print(ending_table(self.runs), state_counts(self.runs))
        # Hydra's sweeper raises the first of these errors only, so each one gives their number.
        failed = [index for index, run in enumerate(self.runs) if run.error]
        for index in failed:
            run = self.runs[index]
            self.results[index].return_value = FibsegError(
                f"{len(failed)} of {len(self.runs)} runs failed, see error.txt in their "
                f"directories; {run.directory.path}: {run.error}"
            )

    def _count_interrupted(self) -> None:
        """Runs that are still at work here end with this process."""
        now = time.time()
        for run in self.runs:
            if run.state == "running":
                run.seconds += max(0.0, now - (run.began_at() or now))
                run.state = "interrupted"

    def _step(self) -> None:
        self._slots = self.pool.slots()
        while self.waiting and len(self._index_by_number) < self._slots:
            self._start(self.waiting.popleft())
        if not self._index_by_number:
            if self.waiting and not self._has_reported_no_slot:
                self._has_reported_no_slot = True
                self.console.print("no GPU or core is available; the sweep waits for one")
            # Without a task at work, the pool does not wait.
            time.sleep(1)
        # Not longer than this, so that runs that another process has left are noticed soon.
        for number, outcome in self.pool.wait(1.0).items():
            index = self._index_by_number.pop(number)
            if isinstance(outcome, str):
                self._handle_death(index, outcome)
            else:
                self._handle_outcome(index, outcome)
        for index, run in enumerate(self.runs):
            if run.state == "elsewhere" and run.is_free():
                run.state = "waiting"
                self.waiting.append(index)

    def _start(self, index: int) -> None:
        run = self.runs[index]
        # This saves a process; `job.run_task` asks again, since it may change at any time.
        if not run.is_free():
            self._report(run, "elsewhere")
            return
        run.tries += 1
        run.started = time.time()
        run.epochs_before = run.epochs_done()
        run.attempts_before = run.attempts()
        self._index_by_number[self.pool.start(self.tasks[index])] = index
        self._report(run, "running")

    def _handle_death(self, index: int, reason: str) -> None:
        run = self.runs[index]
        now = time.time()
        # From when it got its slot; the time in a queue is no work.
        run.seconds += max(0.0, now - (run.began_at() or now))
        result = JobReturn(
            overrides=list(self.tasks[index].config.hydra.overrides.task),
            status=JobStatus.COMPLETED,
        )
        score = run.score()
        # A run that is only without its pictures is finished, where they are what kills it.
        is_last_try = run.tries > self.pool.retries
        if score is not None and (is_last_try or not run.directory.lacking_pictures()):
            run.directory.remove_state()
            result.return_value = score
            self._end(index, result, "")
        elif run.tries <= self.pool.retries:
            name = run.directory.path.name
            self.console.print(f"{name}: its process died ({reason}); it will be started again")
            # Behind the others: what killed it, as a lack of memory, may have passed by then.
            run.state = "waiting"
            self.waiting.append(index)
        else:
            text = f"its process died {run.tries} times ({reason}); killed, or out of memory?"
            # It may have died before it made its directory. On a full disk the sweep goes on, and
            # its tables give the reason.
            with suppress(OSError):
                run.directory.path.mkdir(parents=True, exist_ok=True)
            run.directory.write_error(f"{text}\n")
            result.status = JobStatus.FAILED
            self._end(index, result, text)

    def _handle_outcome(self, index: int, outcome: Outcome) -> None:
        run = self.runs[index]
        run.seconds += outcome.seconds
        run.finished_before = outcome.finished_before
        if outcome.taken:
            # It was not the fault of the run, which keeps all its retries.
            run.tries -= 1
            self._report(run, "elsewhere")
        elif outcome.result.status == JobStatus.FAILED:
            self._end(index, outcome.result, str(outcome.result._return_value))
        else:
            self._end(index, outcome.result, "")

    def _end(self, index: int, result: JobReturn, error: str) -> None:
        run = self.runs[index]
        self.results[index] = result
        run.error = error.removeprefix(f"{run.directory.path}: ")
        if error:
            self._report(run, "diverged" if run.has_diverged() else "failed")
        elif run.finished_before:
            self._report(run, "skipped")
        else:
            self._report(run, "resumed" if run.epochs_before else "finished")

    def _report(self, run: SweepRun, state: str) -> None:
        run.state = state
        self.console.print(event_line(run, self.runs, self._slots, time.time()))

    def _table(self) -> Table:
        width, height = self.console.size
        return live_table(
            runs=self.runs,
            slots=self._slots,
            now=time.time(),
            height=height - LINES_AROUND_TABLE,
            width=width,
        )
