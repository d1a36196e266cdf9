"""A task inside a worker process of Ray."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

from fibseg.sweeps.job import Outcome
from fibseg.sweeps.pool import PoolTask
from fibseg.sweeps.slots import require_gpu, reserved_slot


def run_in_worker(task: PoolTask, runs_per_gpu: int, cores_per_run: int | None) -> Outcome:
    """Wait for a slot, then work; `runs_per_gpu` is 0 for a run without a GPU."""
    # First, since the parent may end while the task waits for its slot.
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    # Ray's handler would end the process; a training has its own and first saves the epoch.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        return task.run(_slot(task, runs_per_gpu, cores_per_run))
    finally:
        _wait_for_wandb()


def _wait_for_wandb() -> None:
    """Let W&B's own process write what it holds of a finished run.

    `Run.finish` asks for that and does not wait; a hook at the end of Python does, and Ray ends its
    workers without it.
    """
    if "wandb" in sys.modules:
        # A board is never worth a run.
        with suppress(Exception):
            sys.modules["wandb"].teardown()


@contextmanager
def _slot(task: PoolTask, runs_per_gpu: int, cores_per_run: int | None) -> Iterator[str]:
    """The GPU that Ray chose, and cores of this node that we choose: Ray pins no cores."""
    if not runs_per_gpu:
        # Ray hides no GPU from a task that asks for none.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        with reserved_slot(None, 0, 1, cores_per_run or 1) as description:
            yield description
        return
    # Before cores are taken: a run without a usable GPU fails at once.
    require_gpu(task.device)
    runs_here = runs_per_gpu * _gpus_of_node()
    even_share = max(1, len(os.sched_getaffinity(0)) // runs_here)
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]
    with reserved_slot(gpu, runs_per_gpu, runs_here, cores_per_run or even_share) as description:
        yield description


def _gpus_of_node() -> int:
    """GPUs of this machine, those of other sweeps included."""
    ray: Any = importlib.import_module("ray")
    node_id = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id)
    # Ray may have been started with some of the GPUs only, while another sweep has the rest.
    devices = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return max(int(resources.get("GPU", 1)), devices)


def end_with_parent(parent: int) -> None:
    """End this process once its parent, Ray on this machine, was killed.

    It would go on training, and nobody would receive the result.
    """
    # A parent with number 1 is the first process of a container, and never ends before us.
    while os.getppid() == parent != 1:
        sleep(1)
    os._exit(1)
