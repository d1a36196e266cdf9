"""Tasks of a sweep on the GPUs or cores of this machine, or on those of a Ray cluster."""

from __future__ import annotations

import importlib
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fibseg.errors import FibsegError, Terminated
from fibseg.sweeps.job import Outcome, Task, failed_outcome, output_to
from fibseg.sweeps.pool import require_at_least
from fibseg.sweeps.ray_session import MARK_VARIABLE, RaySession, kill_marked
from fibseg.sweeps.ray_worker import run_in_worker

# Ray reads these when it is imported: no telemetry, and no change of CUDA_VISIBLE_DEVICES for
# tasks without a GPU.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    ray: Any = importlib.import_module("ray")
except ImportError as error:
    raise FibsegError(
        f"hydra/launcher=ray needs Ray ({error}); `pip install ray`, or use hydra/launcher=basic."
    ) from error

ESSENTIAL_PROCESSES = ("raylet", "gcs_server")
"""Processes of Ray without which no run starts or ends; its monitors may die."""

OBJECT_STORE_BYTES = 78_643_200
"""The minimum that Ray accepts: only configurations and results pass through the object store."""

SHARE_STEPS = 10_000
"""Ray counts shares of a GPU in steps of 1/10,000."""

CONNECT_SECONDS = 10

RESUME_ADVICE = "run the same command again to resume the sweep"


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
        """As "8 GPUs, an even share of the cores a run"."""
        if self.on_gpu:
            devices = f"{self._gpus(nodes)} GPUs"
        else:
            devices = f"{int(sum(node.get('CPU', 0) for node in nodes))} cores"
        is_shared = self.on_gpu and self.cores_per_run is None
        cores = "an even share of the" if is_shared else self.cores_needed
        return f"{devices}, {cores} cores a run"

    def _connect(self, address: str | None, gpus: int | None) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address is not None:
            with ray_subdued():
                _connect_to_cluster(address, quiet)
            return
        self._session = RaySession()
        try:
            with ray_subdued():
                _start_ray(self._session, gpus, quiet)
        # Whatever ends the start, nothing else would end this session.
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

    def start(self, task: Task) -> int:
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
            return _first_sentence(error)
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
            raise FibsegError(f"Ray was stopped ({_first_sentence(error)}); {RESUME_ADVICE}.")

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


@contextmanager
def ray_subdued() -> Iterator[None]:
    """Keep Ray from the terminal and from SIGTERM in a block in which it starts or ends.

    Its answer to SIGTERM is a dump of the stack and an abort; what it warns of is of no use here.
    """
    with output_to(Path(os.devnull)):
        if threading.current_thread() is not threading.main_thread():
            # Python allows handlers in the main thread alone, and Ray sets none elsewhere.
            yield
            return
        answer = signal.getsignal(signal.SIGTERM)
        try:
            yield
        # Ray's answer while it starts.
        except SystemExit as end:
            if end.code in (signal.SIGTERM, 1):
                raise Terminated from None
            raise
        finally:
            signal.signal(signal.SIGTERM, answer)


def _start_ray(session: RaySession, gpus: int | None, options: dict[str, Any]) -> None:
    """Start a Ray on this machine for one sweep."""
    # Every process that Ray starts inherits the mark. SPT_NOENV: Ray otherwise writes the title of
    # a process over its environment, where `kill_marked` reads the mark.
    os.environ |= {MARK_VARIABLE: session.mark, "SPT_NOENV": "1"}
    try:
        ray.init(
            address="local",
            # Not the cores of the machine, of which a container or a scheduler may grant a part.
            num_cpus=len(os.sched_getaffinity(0)),
            num_gpus=gpus,
            # The dashboard would cost a process and open a port.
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(session.folder),
            # Not /dev/shm, which containers make tiny or not at all, and others may fill.
            _plasma_directory=str(session.folder),
            **options,
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise FibsegError(
            f"hydra/launcher=ray: Ray does not start ({_first_sentence(error)})."
        ) from error


def _connect_to_cluster(address: str, options: dict[str, Any]) -> None:
    try:
        if ":" in address:
            # Ray itself would try for minutes where no port is open.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, **options)
    except ray.exceptions.AuthenticationError as error:
        raise FibsegError(
            f"hydra.launcher.address: the Ray cluster at {address} asks for a token; set "
            "RAY_AUTH_MODE=token, and copy the cluster's token to ~/.ray/auth_token."
        ) from error
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise FibsegError(
            f"hydra.launcher.address: no Ray cluster at {address} ({_first_sentence(error)})."
        ) from error


def _first_sentence(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition(". ")[0].splitlines()[0]


@contextmanager
def ray_errors_as_sentences(failure: str) -> Iterator[None]:
    """Turn an error of Ray itself, not of a task, into a FibsegError."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise FibsegError(f"Ray {failure} ({_first_sentence(error)}); {RESUME_ADVICE}.") from error
