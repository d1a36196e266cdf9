"""Tasks on the GPUs or cores of this machine, or on those of a Ray cluster."""

from __future__ import annotations

import math
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from fibseg.errors import FibsegError
from fibseg.sweeps.job import Outcome, failed_outcome
from fibseg.sweeps.pool import PoolTask, require_at_least
from fibseg.sweeps.ray_session import RaySession, kill_marked
from fibseg.sweeps.ray_start import (
    RESUME_ADVICE,
    connect_to_cluster,
    first_sentence,
    ray,
    ray_errors_as_sentences,
    ray_subdued,
    start_ray,
)
from fibseg.sweeps.ray_worker import run_in_worker

ESSENTIAL_PROCESSES = ("raylet", "gcs_server")
"""Processes of Ray without which no run starts or ends; its monitors may die."""

SHARE_STEPS = 10_000
"""Ray counts shares of a GPU in steps of 1/10,000."""


class RayPool:
    """One process per task, on a GPU, a share of one, or some cores that Ray assigns."""

    def __init__(
        self,
        runs_per_gpu: int,
        cores_per_run: int | None,
        gpus: int | None,
        retries: int,
        address: str | None,
    ):
        """Connect to the cluster, or start Ray on this machine.

        Args:
            runs_per_gpu: how many runs share a GPU.
            cores_per_run: cores of each run; None for one without GPUs, an even share with them.
            gpus: how many GPUs to use; None for all, 0 for none.
            retries: how often a run is started again after its process died.
            address: HOST:PORT of a Ray cluster, or "auto"; None for this machine alone.

        Raises:
            FibsegError: an impossible value, or a Ray that cannot be reached or started.
        """
        require_at_least(1, runs_per_gpu=runs_per_gpu)
        require_at_least(1, can_be_null=True, cores_per_run=cores_per_run)
        require_at_least(0, retries=retries)
        require_at_least(0, can_be_null=True, gpus=gpus)
        self.retries = retries
        self.runs_per_gpu = runs_per_gpu
        self.cores_per_run = cores_per_run
        self.local = address is None
        self._requested_gpus = gpus
        # Only a Ray that is started here has processes to end and a folder to remove.
        self._session: RaySession | None = None
        self._number_by_reference: dict[Any, int] = {}
        self._future_by_reference: dict[Any, Future[Any]] = {}
        self._count = 0
        self._connect(address, gpus)
        nodes = self._nodes()
        self.on_gpu = bool(gpus if gpus is not None else sum(node.get("GPU", 0) for node in nodes))
        # A task that asks for more cores than any node has would wait for ever.
        largest_node = int(max(node.get("CPU", 1) for node in nodes))
        self.cores_needed = min(cores_per_run or 1, largest_node)
        self.where = self._describe(nodes)

    def _describe(self, nodes: list[dict[str, float]]) -> str:
        """As "8 GPUs, an even share of the cores each"."""
        if self.on_gpu:
            devices = f"{self._gpus(nodes)} GPUs"
        else:
            devices = f"{int(sum(node.get('CPU', 0) for node in nodes))} cores"
        is_shared = self.on_gpu and self.cores_per_run is None
        cores = "an even share of the" if is_shared else self.cores_needed
        return f"{devices}, {cores} cores each"

    def _connect(self, address: str | None, gpus: int | None) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address is not None:
            with ray_subdued():
                connect_to_cluster(address, quiet)
            return
        self._session = RaySession()
        try:
            with ray_subdued():
                start_ray(self._session, gpus, quiet)
        # Whatever ends the start, nothing else would end these processes of Ray.
        except BaseException:
            self.close()
            raise

    def _nodes(self) -> list[dict[str, float]]:
        """Resources of each node at this moment: nodes come and go."""
        with ray_errors_as_sentences("does not answer"):
            return [node["Resources"] for node in ray.nodes() if node["Alive"]] or [{}]

    def _gpus(self, nodes: list[dict[str, float]]) -> int:
        """GPUs in use: those that exist, or those that were requested.

        A cluster that grows adds the requested ones when there is work for them.
        """
        existing = int(sum(node.get("GPU", 0) for node in nodes))
        return existing if self._requested_gpus is None else self._requested_gpus

    def slots(self) -> int:
        """Runs that fit on the cluster at this moment."""
        self._require_ray_alive()
        nodes = self._nodes()
        if self.on_gpu:
            return self._gpus(nodes) * self.runs_per_gpu
        return max(1, sum(int(node.get("CPU", 0)) // self.cores_needed for node in nodes))

    def start(self, task: PoolTask) -> int:
        """Hand a task to Ray."""
        if self.on_gpu:
            # Rounded down: Ray rounds to its steps, and six times 0.1667 are more than one GPU.
            share = math.floor(SHARE_STEPS / self.runs_per_gpu) / SHARE_STEPS
            # No cores from Ray, which would start fewer runs than fit; `sweeps.slots` has them.
            resources: dict[str, float] = {"num_gpus": share, "num_cpus": 0}
        else:
            resources = {"num_cpus": self.cores_needed}
        # No retries by Ray, since the driver counts them; and a new process for every task.
        remote = ray.remote(max_retries=0, max_calls=1, **resources)(run_in_worker)
        runs_per_gpu = self.runs_per_gpu if self.on_gpu else 0
        self._count += 1
        reference = remote.remote(task, runs_per_gpu, self.cores_per_run)
        self._number_by_reference[reference] = self._count
        with ray_errors_as_sentences("does not answer"):
            self._future_by_reference[reference] = reference.future()
        return self._count

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended: their outcome, or why their process died."""
        if not self._number_by_reference:
            return {}
        self._require_ray_alive()
        # Futures, since ray.wait itself waits for a minute where Ray's server was killed.
        futures = self._future_by_reference
        # One is enough to return at once, and the next call takes the others.
        wait(futures.values(), timeout=seconds, return_when=FIRST_COMPLETED)
        self._require_ray_alive()
        outcomes: dict[int, Outcome | str] = {}
        for reference in [reference for reference, future in futures.items() if future.done()]:
            del futures[reference]
            outcomes[self._number_by_reference.pop(reference)] = self._outcome(reference)
        return outcomes

    def _outcome(self, reference: Any) -> Outcome | str:
        try:
            outcome: Outcome = ray.get(reference)
        # This is what Ray makes of a KeyboardInterrupt in the worker.
        except ray.exceptions.TaskCancelledError:
            return "stopped by a signal"
        # An exception of the task itself: another attempt would meet it again.
        except ray.exceptions.RayTaskError as error:
            return failed_outcome(error)
        except ray.exceptions.RayError as error:
            self._require_not_lost(error)
            return first_sentence(error)
        return outcome

    def _require_ray_alive(self) -> None:
        """FibsegError if a process of the local Ray was killed: Ray itself would wait for it."""
        if not self.local:
            return
        # There is no public way to ask; the sweep tests kill Ray and would notice a change.
        dead = [name for name, _ in ray._private.worker._global_node.dead_processes()]
        if any(name in ESSENTIAL_PROCESSES for name in dead):
            # Ray can no longer cancel them.
            self._number_by_reference.clear()
            self._future_by_reference.clear()
            assert self._session is not None
            kill_marked(self._session.mark)
            raise FibsegError(f"Ray was stopped (killed?); {RESUME_ADVICE}.")

    def _require_not_lost(self, error: Exception) -> None:
        """FibsegError if Ray itself was stopped here: the run did not die of its own fault.

        On a cluster, the runs of a lost node can be started again on another one.
        """
        lost = [ray.exceptions.LocalRayletDiedError]
        if self.local:
            lost.append(ray.exceptions.NodeDiedError)
        if isinstance(error, tuple(lost)):
            raise FibsegError(f"Ray was stopped ({first_sentence(error)}); {RESUME_ADVICE}.")

    def close(self) -> None:
        """End Ray and everything that it started here; on a cluster, the tasks of this sweep."""
        try:
            with ray_subdued():
                for reference in self._number_by_reference:
                    ray.cancel(reference, force=True)
                ray.shutdown()
        finally:
            if self._session is not None:
                self._session.close()
