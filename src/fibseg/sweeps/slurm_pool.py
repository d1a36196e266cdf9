"""Tasks of a sweep as jobs of Slurm, by submitit: job arrays, queued again when their time is up."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep
from types import FrameType
from typing import Any

from fibseg.errors import FibsegError
from fibseg.machine import cores
from fibseg.sweeps.job import Outcome, Task, run_task
from fibseg.sweeps.slots import own_place, require_gpu

RETRY_SECONDS = 60.0
"""Until jobs that Slurm did not take are submitted once more."""


class SlurmTask:
    """A task that submitit can queue again: the run goes on from its last checkpoint."""

    def __init__(self, task: Task, local_cores: int | None, gpus: int):
        """`local_cores`: of a task on this machine; None where Slurm sees to it. `gpus`: that Slurm gives it."""
        self.task, self.local_cores, self.gpus = task, local_cores, gpus

    def __call__(self) -> Outcome:
        """In the job. SIGTERM of a preemption goes unheard, as submitit has it: every epoch saves until the end."""
        time_is_up = importlib.import_module("submitit").JobEnvironment._usr_sig()
        signal.signal(time_is_up, partial(requeue, signal.getsignal(time_is_up)))
        return run_task(self.task, self._place())

    @contextmanager
    def _place(self) -> Iterator[str]:
        if self.local_cores is not None:
            with own_place(None, 1, 1, self.local_cores) as place:
                yield place
            return
        if self.gpus:
            require_gpu(self.task.config.machine.device)
        yield socket.gethostname()

    def checkpoint(self) -> Any:
        """In the job, when its time is up: what to queue."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self)


def requeue(submitit_handler: Any, number: int, frame: FrameType | None) -> None:
    """Signal handler: queue the job again and end it, whatever code it is in.

    submitit ends it by an exception, which the code that was interrupted may catch or ignore; and where queueing fails,
    the exception would look like an error of the training.
    """
    told, code = "not queued again; the sweep submits it once more", 1
    try:
        submitit_handler(number, frame)
    except SystemExit as end:  # its code tells submitit's local executor to start it again
        told, code = "queued again", int(end.code or 0) & 255
    except BaseException as error:
        told = f"{told} ({error})"
    finally:
        os.write(1, f"{told}\n".encode())  # print may have been interrupted itself
        os._exit(code)


class SlurmPool:
    """One job per task. The queue is Slurm's: tasks are submitted together, as an array."""

    def __init__(
        self,
        cluster: str,
        folder: str,
        retries: int,
        max_num_timeout: int,
        array_parallelism: int,
        **resources: Any,
    ):
        """The keys of conf/hydra/launcher/slurm.yaml; `cluster` is slurm, or local to try it without one."""
        counts = {"retries": (retries, 0), "max_num_timeout": (max_num_timeout, 0)}
        for name, (value, least) in (
            counts | {"array_parallelism": (array_parallelism, 1)}
        ).items():
            if not (isinstance(value, int) and value >= least):
                raise FibsegError(
                    f"hydra.launcher.{name}: {value} is impossible; expected {least} or more."
                )
        try:
            submitit = importlib.import_module("submitit")
            self._executor = submitit.AutoExecutor(
                folder, cluster=cluster, **{f"{cluster}_max_num_timeout": max_num_timeout}
            )
            given = {key: value for key, value in resources.items() if value is not None}
            own: dict[str, Any] = (
                {"slurm_array_parallelism": array_parallelism} if cluster == "slurm" else {}
            )
            if (
                cluster == "slurm" and "cpus_per_task" in given
            ):  # srun no longer takes it over from sbatch
                own["slurm_srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}"]
            self._executor.update_parameters(**given, **own)
        except ImportError as error:
            raise FibsegError(
                f"hydra/launcher=slurm needs submitit ({error}); `pip install submitit`."
            ) from error
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise FibsegError(f"hydra/launcher=slurm: {str(error).splitlines()[0]}") from error
        self._local_cores = (resources.get("cpus_per_task") or 1) if cluster == "local" else None
        most = (
            array_parallelism if self._local_cores is None else max(1, cores() // self._local_cores)
        )
        self.retries, self._parallel = retries, min(most, array_parallelism)
        self.where = f"{cluster} jobs"
        self._own = (self._local_cores, int(resources.get("gpus_per_node") or 0))
        self._next_try, self._accepted = 0.0, False
        self._queued: list[tuple[int, Task]] = []
        self._jobs: dict[int, Any] = {}
        self._count = 0

    def slots(self) -> int:
        """Jobs that may run at once; how many do is Slurm's affair."""
        return self._parallel

    def start(self, task: Task) -> int:
        """Submitted at the next `wait`."""
        self._count += 1
        self._queued.append((self._count, task))
        return self._count

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Submit what is new, then look at the jobs until one has ended."""
        if self._queued and monotonic() >= self._next_try:
            try:
                with self._executor.batch():
                    new = {
                        n: self._executor.submit(SlurmTask(task, *self._own))
                        for n, task in self._queued
                    }
            except Exception as error:  # sbatch's word on a partition, an account, a limit
                why = (str(error).strip() or type(error).__name__).splitlines()[-1]
                if not self._accepted:
                    raise FibsegError(
                        f"hydra/launcher=slurm: the jobs were not taken ({why})."
                    ) from error
                print(
                    f"{len(self._queued)} jobs were not taken ({why}); they are submitted again",
                    flush=True,
                )
                self._next_try = monotonic() + RETRY_SECONDS
            else:
                self._jobs |= new
                self._accepted = True
                self._queued.clear()
        end = monotonic() + seconds
        while (
            not (ended := [number for number, job in self._jobs.items() if job.done()])
            and monotonic() < end
        ):
            sleep(0.2)
        return {number: _outcome(self._jobs.pop(number).results) for number in ended}

    def close(self) -> None:
        """Cancel what is left."""
        for job in self._jobs.values():
            job.cancel(check=False)


def _outcome(results: Callable[[], list[Outcome]]) -> Outcome | str:
    try:
        return results()[0]
    except Exception as error:  # whatever the job died of
        return _brief(str(error)) or type(error).__name__


def _brief(message: str) -> str:
    r"""Slurm's state of the job, or the last line of the trace that submitit quotes.

    >>> _brief("Job 7_0 with path x\nhas not produced any output (state: OUT_OF_MEMORY)\nError stream ...")
    'state: OUT_OF_MEMORY'
    """
    if state := re.search(r"\((state: [^)]*)\)", message):
        return state[1]
    lines = [
        line
        for line in message.partition("\n------")[2].rpartition("\n------")[0].splitlines()
        if line.strip()
    ]
    return (lines or message.splitlines() or [""])[-1].strip()
