"""Tasks of a sweep on this machine's GPUs or cores, or on those of a Ray cluster."""

from __future__ import annotations

import importlib
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from fibseg.errors import FibsegError
from fibseg.sweeps.job import Outcome, Task, failure, run_task
from fibseg.sweeps.slots import own_place, require_gpu

os.environ.setdefault(
    "RAY_USAGE_STATS_ENABLED", "0"
)  # no telemetry; Ray reads these when it is imported
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    ray: Any = importlib.import_module("ray")
except ImportError as error:
    raise FibsegError(
        f"hydra/launcher=ray needs Ray ({error}); `pip install ray`, or hydra/launcher=basic."
    ) from error

MARK = "FIBSEG_SWEEP"
"""Variable of the environment, by which the processes of one sweep are known."""

NEEDED = ("raylet", "gcs_server")
"""Processes of Ray without which no run ends or starts; its monitors may die."""

OBJECT_STORE = 78_643_200
"""Bytes, the least that Ray takes: configurations and results are all that passes through."""


class RayPool:
    """One process per task: Ray gives it a GPU or a share of one, or cores, and starts none anew by itself."""

    def __init__(
        self,
        runs_per_gpu: int,
        cores_per_run: int | None,
        gpus: int | None,
        retries: int,
        address: str | None,
    ):
        """The keys of conf/hydra/launcher/ray.yaml; connects to the cluster, or starts Ray here."""
        for name, value in (("runs_per_gpu", runs_per_gpu), ("cores_per_run", cores_per_run)):
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise FibsegError(
                    f"hydra.launcher.{name}: {value} is impossible; expected 1 or more."
                )
        for name, value in (("retries", retries), ("gpus", gpus)):
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise FibsegError(
                    f"hydra.launcher.{name}: {value} is impossible; expected 0 or more."
                )
        self.retries, self.runs_per_gpu, self.cores_per_run = retries, runs_per_gpu, cores_per_run
        self.local, self._asked_gpus = address is None, gpus
        self._mark = secrets.token_hex(8)
        self._connect(address, gpus)
        nodes = self._nodes()
        self.on_gpu = bool(gpus if gpus is not None else sum(node.get("GPU", 0) for node in nodes))
        self.cores_needed = min(cores_per_run or 1, int(max(node.get("CPU", 1) for node in nodes)))
        what = (
            f"{self._gpus(nodes)} GPUs"
            if self.on_gpu
            else f"{int(sum(n.get('CPU', 0) for n in nodes))} cores"
        )
        each = (
            "an even share of the" if self.on_gpu and cores_per_run is None else self.cores_needed
        )
        self.where = f"{what}, {each} cores a run"
        self._running: dict[Any, int] = {}
        self._count = 0

    def _connect(self, address: str | None, gpus: int | None) -> None:
        quiet: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": True,
        }
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
        os.environ |= {
            MARK: self._mark,
            "SPT_NOENV": "1",
        }  # inherited, and not overwritten by the title of a process
        try:
            ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                **quiet,
            )
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise FibsegError(
                f"hydra/launcher=ray: Ray does not start ({_brief(error)})."
            ) from error

    def _nodes(self) -> list[dict[str, float]]:
        """What each node has, as things are now: nodes come and go."""
        with ray_errors_as_sentences("cannot be asked"):
            return [node["Resources"] for node in ray.nodes() if node["Alive"]] or [{}]

    def _gpus(self, nodes: list[dict[str, float]]) -> int:
        """That are there, or were asked for: a cluster that grows brings them when there is work for them."""
        there = int(sum(node.get("GPU", 0) for node in nodes))
        return there if self._asked_gpus is None else self._asked_gpus

    def slots(self) -> int:
        """Of the cluster as it is now."""
        self._see_it_lives()
        nodes = self._nodes()
        if self.on_gpu:
            return self._gpus(nodes) * self.runs_per_gpu
        return max(1, sum(int(node.get("CPU", 0)) // self.cores_needed for node in nodes))

    def start(self, task: Task) -> int:
        """Hand a task to Ray."""
        share = (
            math.floor(10_000 / self.runs_per_gpu) / 10_000
        )  # Ray rounds to this, and six times .1667 are too much
        needed = (
            {"num_gpus": share, "num_cpus": 0} if self.on_gpu else {"num_cpus": self.cores_needed}
        )
        remote = ray.remote(max_retries=0, max_calls=1, **needed)(run_in_place)
        self._count += 1
        self._running[
            remote.remote(task, self.runs_per_gpu if self.on_gpu else 0, self.cores_per_run)
        ] = self._count
        return self._count

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        """Tasks that ended: what they gave, or why their process is gone."""
        if not self._running:
            return {}
        self._see_it_lives()
        with ray_errors_as_sentences("is gone"):
            ended, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        found: dict[int, Outcome | str] = {}
        for reference in ended:
            number = self._running.pop(reference)
            try:
                found[number] = ray.get(reference)
            except ray.exceptions.TaskCancelledError:  # what Ray makes of KeyboardInterrupt
                found[number] = "stopped by a signal"
            except ray.exceptions.RayTaskError as error:
                found[number] = failure(error)
            except ray.exceptions.RayError as error:
                self._check_alive(error)
                found[number] = _brief(error)
        return found

    def _see_it_lives(self) -> None:
        """FibsegError where a process of the Ray that was started here was killed: Ray itself would wait for it."""
        if self.local and any(
            name in NEEDED for name, _ in ray._private.worker._global_node.dead_processes()
        ):
            self._running.clear()  # there is nobody to cancel them
            end_marked(self._mark)
            raise FibsegError(
                "Ray was stopped (killed?); the same command goes on where the sweep stopped."
            )

    def _check_alive(self, error: Exception) -> None:
        """FibsegError where Ray itself was stopped here: no run is to blame, and none could be started again."""
        lost = [ray.exceptions.LocalRayletDiedError] + (
            [ray.exceptions.NodeDiedError] if self.local else []
        )
        if isinstance(error, tuple(lost)):
            raise FibsegError(
                f"Ray was stopped ({_brief(error)}); the same command goes on where the sweep stopped."
            )

    def close(self) -> None:
        """End Ray and all it started here; on a cluster, the tasks of this sweep."""
        try:
            for reference in self._running:
                ray.cancel(reference, force=True)
            ray.shutdown()
        finally:
            if self.local:
                end_marked(self._mark)


def end_marked(mark: str) -> None:
    """Kill every process that Ray started here, and all that they started: Ray leaves some where a part of it died."""
    line = f"{MARK}={mark}".encode()
    for entry in [
        path for _ in range(3) for path in Path("/proc").glob("[0-9]*/environ")
    ]:  # new ones may come
        number = int(entry.parent.name)
        try:
            if number != os.getpid() and line in entry.read_bytes().split(b"\0"):
                os.kill(number, signal.SIGKILL)
        except OSError:  # ended, or another user's
            continue


def _brief(error: Exception) -> str:
    """The first sentence."""
    return (str(error).strip() or type(error).__name__).partition(". ")[0].splitlines()[0]


@contextmanager
def ray_errors_as_sentences(what: str) -> Iterator[None]:
    """One sentence where Ray itself fails, and not a task."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise FibsegError(
            f"Ray {what} ({_brief(error)}); the same command goes on where the sweep stopped."
        ) from error


def run_in_place(task: Task, runs_per_gpu: int, cores_per_run: int | None) -> Outcome:
    """In the worker: wait for a place, then run; `runs_per_gpu` is 0 for a run without a GPU."""
    threading.Thread(target=end_without, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the run has an answer of its own
    return run_task(task, _place(task, runs_per_gpu, cores_per_run))


@contextmanager
def _place(task: Task, runs_per_gpu: int, cores_per_run: int | None) -> Iterator[str]:
    """On this node: its GPU from Ray, its cores from us."""
    gpu, cores, runs_here = None, len(os.sched_getaffinity(0)), 1
    if runs_per_gpu:
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        require_gpu(task.config.machine.device)
        own = ray.get_runtime_context().get_node_id()
        (here,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
        machine = len(
            list(Path("/dev").glob("nvidia[0-9]*"))
        )  # another sweep may have the other ones
        runs_here = runs_per_gpu * max(int(here.get("GPU", 1)), machine)
        cores_per_run = cores_per_run or max(1, cores // runs_here)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from a task that asks for none
        cores_per_run = cores_per_run or 1
    with own_place(gpu, runs_per_gpu, runs_here, cores_per_run) as found:
        yield found


def end_without(parent: int) -> None:
    """In the worker: end when Ray was killed on this machine; it would train on, and nobody would hear of it."""
    while os.getppid() == parent != 1:
        sleep(1)
    os._exit(1)
