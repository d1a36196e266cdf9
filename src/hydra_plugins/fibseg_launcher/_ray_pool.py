"""Tasks of a sweep on this machine's GPUs or cores, or on those of a Ray cluster."""

from __future__ import annotations

import importlib
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fibseg.errors import FibsegError
from hydra_plugins.fibseg_launcher._job import Outcome, Task, run_task
from hydra_plugins.fibseg_launcher._slots import own_place

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; Ray reads these when it is imported
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    ray: Any = importlib.import_module("ray")
except ImportError as error:
    raise FibsegError(f"hydra/launcher=ray needs Ray ({error}); `pip install ray`, or hydra/launcher=basic.") from error

OBJECT_STORE = 78_643_200
"""Bytes, the least that Ray takes: configurations and results are all that passes through."""


class RayPool:
    """One process per task: Ray gives it a GPU or a share of one, or cores, and starts none anew by itself."""

    def __init__(
        self, runs_per_gpu: int, cores_per_run: int | None, gpus: int | None, retries: int, address: str | None
    ):
        """The keys of conf/hydra/launcher/ray.yaml; connects to the cluster, or starts Ray here."""
        for name, value in (("runs_per_gpu", runs_per_gpu), ("cores_per_run", cores_per_run)):
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise FibsegError(f"hydra.launcher.{name}: {value} is impossible; expected 1 or more.")
        for name, value in (("retries", retries), ("gpus", gpus)):
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise FibsegError(f"hydra.launcher.{name}: {value} is impossible; expected 0 or more.")
        self.retries, self.runs_per_gpu, self.local = retries, runs_per_gpu, address is None
        self._connect(address, gpus)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        cores = int(min(node.get("CPU", 1) for node in nodes))
        self.runs_per_node = runs_per_gpu * max(int(node.get("GPU", 0)) for node in nodes)
        share = max(1, cores // self.runs_per_node) if self.gpus else 1
        self.cores_per_run = min(cores_per_run or share, cores)
        what = f"{self.gpus} GPUs" if self.gpus else f"{sum(int(node.get('CPU', 1)) for node in nodes)} cores"
        self.where = f"{what}, {self.cores_per_run} cores a run"
        self._running: dict[Any, int] = {}
        self._count = 0

    def _connect(self, address: str | None, gpus: int | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address is not None:
            try:
                if ":" in address:  # Ray itself would knock for minutes
                    host, _, port = address.rpartition(":")
                    socket.create_connection((host, int(port)), timeout=10).close()
                ray.init(address=address, **quiet)
            except ray.exceptions.AuthenticationError as error:
                why = "it asks for a token: set RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token"
                raise FibsegError(
                    f"hydra.launcher.address: the Ray cluster at {address} lets nobody in; {why}."
                ) from error
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                found = f"no Ray cluster at {address} ({_brief(error)})"
                raise FibsegError(f"hydra.launcher.address: {found}.") from error
            return
        try:
            ray.init(
                address="local", num_cpus=len(os.sched_getaffinity(0)), num_gpus=gpus, include_dashboard=False,
                object_store_memory=OBJECT_STORE, **quiet,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise FibsegError(f"hydra/launcher=ray: Ray does not start ({_brief(error)}).") from error

    def slots(self) -> int:
        """Of the cluster as it is now: nodes come and go."""
        with told("cannot be asked"):
            found = ray.cluster_resources()
        if self.gpus:
            return int(found.get("GPU", 0)) * self.runs_per_gpu
        return max(1, int(found.get("CPU", 0)) // self.cores_per_run)

    def start(self, task: Task) -> int:
        """Hand a task to Ray."""
        share = math.floor(10_000 / self.runs_per_gpu) / 10_000  # Ray rounds to this, and six times .1667 are too much
        needed = {"num_gpus": share, "num_cpus": 0} if self.gpus else {"num_cpus": self.cores_per_run}
        remote = ray.remote(max_retries=0, max_calls=1, **needed)(run_in_place)
        self._count += 1
        place = (self.runs_per_gpu, self.runs_per_node, self.cores_per_run)
        self._running[remote.remote(task, bool(self.gpus), place)] = self._count
        return self._count

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended: what they gave, or why their process is gone."""
        if not self._running:
            return {}
        with told("is gone"):
            ended, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        found: dict[int, Outcome | str] = {}
        for reference in ended:
            number = self._running.pop(reference)
            try:
                found[number] = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                found[number] = str(error).strip().splitlines()[-1]
            except ray.exceptions.RayError as error:
                self._check_alive(error)
                found[number] = _brief(error)
        return found

    def _check_alive(self, error: Exception) -> None:
        """FibsegError where Ray itself was stopped here: no run is to blame, and none could be started again."""
        lost = [ray.exceptions.LocalRayletDiedError] + ([ray.exceptions.NodeDiedError] if self.local else [])
        if isinstance(error, tuple(lost)):
            raise FibsegError(f"Ray was stopped ({_brief(error)}); the same command goes on where the sweep stopped.")

    def close(self) -> None:
        """End Ray and all it started here; on a cluster, the tasks of this sweep."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _brief(error: Exception) -> str:
    """The first sentence."""
    return str(error).strip().partition(". ")[0].splitlines()[0]


@contextmanager
def told(what: str) -> Iterator[None]:
    """One sentence where Ray itself fails, and not a task."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise FibsegError(f"Ray {what} ({_brief(error)}); the same command goes on where the sweep stopped.") from error


def run_in_place(task: Task, on_gpu: bool, place: tuple[int, int, int]) -> Outcome:
    """In the worker: wait for a place, then run."""
    if not on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from a task that asks for none
    gpu = os.environ["CUDA_VISIBLE_DEVICES"] if on_gpu else None
    with own_place(gpu, *place) as found:
        return run_task(task, found)
