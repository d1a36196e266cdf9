"""Which run uses which GPU and which cores of a machine.

The slots are locks in the temporary folder, so that two sweeps of one user share a machine, too. A
lock is free again as soon as its process has ended, however it ended.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from fibseg.errors import FibsegError

_T = TypeVar("_T")


@contextmanager
def reserved_slot(
    gpu: str | None, runs_per_gpu: int, runs_here: int, cores_per_run: int
) -> Iterator[str]:
    """Wait for a share of the GPU and for cores that no other run of this user has.

    The process stays on these cores until the end of the block, which gets a description of them.

    Args:
        gpu: the name of the GPU in CUDA_VISIBLE_DEVICES; None without one.
        runs_per_gpu: how many runs share that GPU.
        runs_here: how many runs may be on this machine at once; they share its cores if there are
            more runs than cores.
        cores_per_run: how many cores a run gets, out of those that this process may use.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = min(cores_per_run, len(cores))
    # With more runs than cores, each core is given to so many runs.
    runs_per_core = -(-runs_here * count // len(cores))
    gpu_locks = (
        []
        if gpu is None
        else _wait_for(lambda: _claim([f"gpu-{gpu}-{i}" for i in range(runs_per_gpu)], 1))
    )
    lock_by_core = _wait_for(lambda: _claim_cores(cores, count, runs_per_core))
    # Threads and processes that the run starts from now on inherit these cores.
    # Pinned, or torch would start a thread on every core of the machine for each run.
    os.sched_setaffinity(0, lock_by_core)
    cores_text = f"cores {sorted(lock_by_core)}"
    try:
        yield cores_text if gpu is None else f"GPU {gpu}, {cores_text}"
    finally:
        os.sched_setaffinity(0, cores)
        for lock in [*gpu_locks, *lock_by_core.values()]:
            lock.release()


def require_gpu(device: str) -> None:
    """Check that torch can use the GPU of this run.

    Raises:
        FibsegError: the configuration asks for "auto", and torch would silently take the CPU.
    """
    if device != "auto":
        return
    import torch

    if not torch.cuda.is_available():
        raise FibsegError(
            "torch sees no GPU, though this run was given one (a torch for CPUs only? an old "
            "driver?); repair it, or use machine.device=cpu."
        )


def _claim_cores(cores: Sequence[int], count: int, runs_per_core: int) -> dict[int, FileLock]:
    """This many free cores with their locks; none if there are fewer.

    The first run of every core is placed before the second run of any.
    """
    for layer in range(max(1, runs_per_core)):
        names = [f"core-{core}-{layer}" for core in cores]
        locks = _claim(names, count)
        if locks:
            return {cores[names.index(Path(lock.lock_file).stem)]: lock for lock in locks}
    return {}


def _claim(names: Sequence[str], count: int) -> list[FileLock]:
    """The first `count` of these locks that are free; none at all if there are fewer."""
    # Nodes of a cluster may share the temporary folder, and users of a machine do.
    folder = Path(tempfile.gettempdir()) / f"fibseg-{os.getuid()}-{socket.gethostname()}"
    folder.mkdir(exist_ok=True)
    claimed: list[FileLock] = []
    for name in names:
        lock = FileLock(folder / f"{name}.lock")
        try:
            # Never wait here: a run that waits with a part of its cores would block the others.
            lock.acquire(timeout=0)
        except Timeout:
            continue
        claimed.append(lock)
        if len(claimed) == count:
            return claimed
    for lock in claimed:
        lock.release()
    return []


def _wait_for(claim: Callable[[], _T]) -> _T:
    """Repeat until something was claimed.

    The pauses are random: two processes that each hold a part of what the other one needs release
    it, and must not come back at the same time for ever.
    """
    while not (claimed := claim()):
        time.sleep(random.uniform(0.1, 0.3))
    return claimed
