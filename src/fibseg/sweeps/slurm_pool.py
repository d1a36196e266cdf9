"""Tasks as jobs of Slurm, by submitit: job arrays that are requeued when time is up."""

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
from fibseg.sweeps.job import Outcome
from fibseg.sweeps.pool import PoolTask, require_at_least
from fibseg.sweeps.slots import require_gpu, reserved_slot

RESUBMIT_SECONDS = 60.0
"""Pause before jobs that Slurm rejected are submitted again."""


class SlurmTask:
    """A task that submitit can requeue: the run resumes from its last checkpoint."""

    def __init__(self, task: PoolTask, local_cores: int | None, gpus: int):
        """Wrap a task for a job.

        Args:
            task: the task.
            local_cores: cores of a job on this machine; None where Slurm assigns them.
            gpus: how many GPUs Slurm assigns to the job.
        """
        self.task = task
        self.local_cores = local_cores
        self.gpus = gpus

    def __call__(self) -> Outcome:
        """Train inside the job.

        SIGTERM, the first sign of a preemption, stays ignored as submitit has it: every epoch is
        saved until the job is killed.
        """
        # Which signal Slurm sends before the limit is the choice of submitit.
        time_is_up = importlib.import_module("submitit").JobEnvironment._usr_sig()
        signal.signal(time_is_up, partial(requeue, signal.getsignal(time_is_up)))
        return self.task.run(self._slot())

    @contextmanager
    def _slot(self) -> Iterator[str]:
        # On a cluster Slurm has assigned the cores; on this machine nobody has.
        if self.local_cores is not None:
            with reserved_slot(None, 1, 1, self.local_cores) as description:
                yield description
            return
        if self.gpus:
            require_gpu(self.task.device)
        yield socket.gethostname()

    def checkpoint(self) -> Any:
        """What submitit queues when the time of the job is up."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self)


def requeue(submitit_handler: Any, number: int, frame: FrameType | None) -> None:
    """Signal handler that requeues the job and ends it at once, whatever code it interrupts.

    submitit ends a job by an exception, which the interrupted code may catch; and if requeueing
    fails, its exception would look like an error of the training.
    """
    message = "not requeued; the sweep will submit it again"
    code = 1
    try:
        submitit_handler(number, frame)
    except SystemExit as end:
        message = "requeued"
        # By this code, submitit's local executor knows that it must start the job again.
        code = int(end.code or 0) & 255
    except BaseException as error:
        message = f"{message} ({error})"
    finally:
        # Not print, which may itself be what was interrupted.
        os.write(1, f"{message}\n".encode())
        os._exit(code)


class SlurmPool:
    """One job per task, submitted together as an array. The queue is Slurm's."""

    def __init__(
        self,
        cluster: str,
        folder: str,
        retries: int,
        max_num_timeout: int,
        array_parallelism: int,
        **resources: Any,
    ):
        """Prepare submitit; nothing is submitted yet.

        Args:
            cluster: "slurm", or "local" to try the launcher without a cluster.
            folder: where submitit keeps its files; the nodes must see it.
            retries: how often a run is submitted again after its job died.
            max_num_timeout: how often a job is requeued when its time is up.
            array_parallelism: how many jobs may run at once.
            resources: options of submitit, as `timeout_min` and `slurm_partition`.

        Raises:
            FibsegError: an impossible value, no submitit, or no Slurm.
        """
        require_at_least(0, retries=retries, max_num_timeout=max_num_timeout)
        require_at_least(1, array_parallelism=array_parallelism)
        options = {name: value for name, value in resources.items() if value is not None}
        if cluster == "slurm":
            options["slurm_array_parallelism"] = array_parallelism
        if cluster == "slurm" and "cpus_per_task" in options:
            # Since Slurm 22.05, srun no longer takes this option over from sbatch.
            options["slurm_srun_args"] = [f"--cpus-per-task={options['cpus_per_task']}"]
        limit = {f"{cluster}_max_num_timeout": max_num_timeout}
        try:
            submitit = importlib.import_module("submitit")
            self._executor = submitit.AutoExecutor(folder, cluster=cluster, **limit)
            self._executor.update_parameters(**options)
        except ImportError as error:
            raise FibsegError(
                f"hydra/launcher=slurm needs submitit ({error}); `pip install 'fibseg[slurm]'`."
            ) from error
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise FibsegError(f"hydra/launcher=slurm: {str(error).splitlines()[0]}") from error
        self.retries = retries
        self.where = f"{cluster} jobs"
        self._gpus = int(resources.get("gpus_per_node") or 0)
        self._local_cores: int | None = None
        self._slots = array_parallelism
        if cluster == "local":
            self._local_cores = resources.get("cpus_per_task") or 1
            self._slots = min(array_parallelism, max(1, cores() // self._local_cores))
        self._next_submission = 0.0
        self._was_accepted = False
        self._unsubmitted: list[tuple[int, PoolTask]] = []
        self._job_by_number: dict[int, Any] = {}
        self._count = 0

    def slots(self) -> int:
        """Jobs that may run at once; Slurm decides how many do."""
        return self._slots

    def start(self, task: PoolTask) -> int:
        """Keep a task for the next `wait`, which submits all of them as one array."""
        # Numbers and not jobs: a task has a number before it is submitted.
        self._count += 1
        self._unsubmitted.append((self._count, task))
        return self._count

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Submit new tasks, then watch the jobs until at least one has ended."""
        if self._unsubmitted and monotonic() >= self._next_submission:
            self._submit()
        end = monotonic() + seconds
        ended = self._ended()
        while not ended and monotonic() < end:
            sleep(0.2)
            ended = self._ended()
        return {number: _outcome(self._job_by_number.pop(number).results) for number in ended}

    def _ended(self) -> list[int]:
        return [number for number, job in self._job_by_number.items() if job.done()]

    def _submit(self) -> None:
        try:
            # As one array: hundreds of single jobs burden a scheduler, and sites limit them.
            with self._executor.batch():
                jobs = {
                    number: self._executor.submit(SlurmTask(task, self._local_cores, self._gpus))
                    for number, task in self._unsubmitted
                }
        # sbatch fails for many reasons: a partition, an account, a limit on submissions.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            if not self._was_accepted:
                raise FibsegError(
                    f"hydra/launcher=slurm: Slurm rejected the jobs ({reason})."
                ) from error
            # A sweep that has begun outlives a limit that is reached for a while.
            count = len(self._unsubmitted)
            print(
                f"Slurm rejected {count} jobs ({reason}); they will be submitted again", flush=True
            )
            self._next_submission = monotonic() + RESUBMIT_SECONDS
            return
        self._job_by_number |= jobs
        self._was_accepted = True
        self._unsubmitted.clear()

    def close(self) -> None:
        """Cancel the jobs that have not ended."""
        for job in self._job_by_number.values():
            # A job that has just ended cannot be cancelled, which is no error.
            job.cancel(check=False)


def _outcome(results: Callable[[], list[Outcome]]) -> Outcome | str:
    try:
        return results()[0]
    # submitit raises whatever the job died of.
    except Exception as error:
        return _reason(str(error)) or type(error).__name__


def _reason(message: str) -> str:
    r"""Slurm's state of the job, or the last line of the traceback that submitit quotes.

    >>> _reason("Job 7_0 with path x\nhas not produced any output (state: OUT_OF_MEMORY)\nError")
    'state: OUT_OF_MEMORY'
    """
    if state := re.search(r"\((state: [^)]*)\)", message):
        return state[1]
    # submitit puts the traceback of the job between two rules.
    traceback = message.partition("\n------")[2].rpartition("\n------")[0]
    lines = [line for line in traceback.splitlines() if line.strip()]
    return (lines or message.splitlines() or [""])[-1].strip()
