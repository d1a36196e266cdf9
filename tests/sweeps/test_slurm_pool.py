"""Jobs of Slurm, by submitit's local executor and by one that is made up."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from fibseg.errors import FibsegError
from fibseg.sweeps import slurm_pool
from fibseg.sweeps.slurm_pool import SlurmPool
from tests.support.sweeps import TRAINING, Sweeps, assert_same_run

LOCAL = (
    "hydra/launcher=slurm",
    "hydra.launcher.cluster=local",
    "hydra.launcher.gpus_per_node=0",
    "hydra.launcher.cpus_per_task=1",
)


@pytest.mark.slow
def test_jobs_are_requeued_and_submitted_again(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    """The local executor answers the signal of a time limit as Slurm's does."""
    sweeps.disturb(5, ("hold", 3), ("hold", 3))
    driver = sweeps.start(*TRAINING, "seed=5", *LOCAL)
    os.kill(sweeps.wait_until_held(5), signal.SIGUSR2)
    os.kill(sweeps.wait_until_held(5), signal.SIGKILL)
    _, errors = driver.communicate(timeout=300)
    assert (driver.returncode, errors) == (0, "")
    assert len(sweeps.attempts(5)) == 3
    # Only the kill is a death: after the signal submitit itself has started the job again.
    (death,) = [line for line in sweeps.printed.splitlines() if "its process died (" in line]
    assert "(state: " in death
    assert "1 resumed" in sweeps.printed
    assert_same_run(sweeps.directory(5), undisturbed.directory(5))


class RefusingExecutor:
    """Takes a job at each submission whose number is in `accepted`, and refuses the others."""

    def __init__(self, accepted: set[int]):
        self.accepted = accepted
        self.submissions = 0
        self.jobs: list[Any] = []

    def update_parameters(self, **_: Any) -> None:
        """There is no queue."""

    def batch(self) -> nullcontext[None]:
        self.submissions += 1
        return nullcontext()

    def submit(self, task: Any) -> Any:
        if self.submissions not in self.accepted:
            raise RuntimeError("sbatch: error: Batch job submission failed\nInvalid partition")
        job = SimpleNamespace(done=lambda: True, results=lambda: ["outcome"], cancel=lambda **_: 0)
        self.jobs.append(job)
        return job


def pool_with(executor: RefusingExecutor, monkeypatch: pytest.MonkeyPatch) -> SlurmPool:
    submitit = SimpleNamespace(AutoExecutor=lambda *_, **__: executor)
    monkeypatch.setattr(slurm_pool.importlib, "import_module", lambda _: submitit)
    return SlurmPool("slurm", "jobs", retries=1, max_num_timeout=1, array_parallelism=256)


def test_a_first_submission_that_is_rejected_ends_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pool_with(RefusingExecutor(set()), monkeypatch)
    task: Any = "task"
    pool.start(task)
    with pytest.raises(FibsegError, match=r"Slurm rejected the jobs \(Invalid partition\)"):
        pool.wait(0)


def test_a_later_one_is_repeated_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = RefusingExecutor({1, 3})
    pool = pool_with(executor, monkeypatch)
    now = 1000.0
    monkeypatch.setattr(slurm_pool, "monotonic", lambda: now)
    task: Any = "task"
    pool.start(task)
    assert pool.wait(0) == {1: "outcome"}
    pool.start(task)
    assert pool.wait(0) == {}
    message = "Slurm rejected 1 jobs (Invalid partition); they will be submitted again\n"
    assert capsys.readouterr().out == message
    assert pool.wait(0) == {}
    assert executor.submissions == 2
    now += slurm_pool.RESUBMIT_SECONDS
    assert pool.wait(0) == {2: "outcome"}
