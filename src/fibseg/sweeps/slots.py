"""Who on a machine uses which GPU and which cores: locks in the temporary folder, so that two sweeps share them too."""

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
def own_place(
    gpu: str | None, runs_per_gpu: int, runs_here: int, cores_per_run: int
) -> Iterator[str]:
    """Wait for a place on the GPU and for cores that no other run of this user has, and stay on these cores.

    Gives a description of the place.

    Args:
        gpu: what CUDA_VISIBLE_DEVICES names; None without one.
        runs_per_gpu: places on that GPU.
        runs_here: that may be on this machine at once; they share its cores where there are more runs than cores.
        cores_per_run: cores of a run, out of those that this process may use.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = min(cores_per_run, len(cores))
    layers = -(-runs_here * count // len(cores))  # runs on one core
    held = (
        []
        if gpu is None
        else _wait_for(lambda: _claim([f"gpu-{gpu}-{i}" for i in range(runs_per_gpu)], 1))
    )
    own = _wait_for(lambda: _claim_cores(cores, count, layers))
    os.sched_setaffinity(0, own)
    try:
        yield ", ".join([*([] if gpu is None else [f"GPU {gpu}"]), f"cores {sorted(own)}"])
    finally:
        os.sched_setaffinity(0, cores)
        for lock in [*held, *own.values()]:
            lock.release()


def require_gpu(wanted: str) -> None:
    """FibsegError in a run that was given a GPU, takes what there is (`wanted` is "auto"), and sees none."""
    import torch

    if wanted == "auto" and not torch.cuda.is_available():
        why = "torch sees no GPU here, though this run was given one (a torch for CPUs only? an old driver?)"
        raise FibsegError(f"{why}; mend it, or take machine.device=cpu.")


def _claim_cores(cores: Sequence[int], count: int, layers: int) -> dict[int, FileLock]:
    """A number of cores that are free, with their locks; none where there are not as many."""
    for layer in range(max(1, layers)):
        names = [f"core-{core}-{layer}" for core in cores]
        if found := _claim(names, count):
            return {cores[names.index(Path(lock.lock_file).stem)]: lock for lock in found}
    return {}


def _claim(names: Sequence[str], count: int) -> list[FileLock]:
    """As many of these locks as are asked for, the first that are free; none at all where there are fewer."""
    folder = (
        Path(tempfile.gettempdir()) / f"fibseg-{os.getuid()}-{socket.gethostname()}"
    )  # nodes may share it
    folder.mkdir(exist_ok=True)
    found: list[FileLock] = []
    for name in names:
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        found.append(lock)
        if len(found) == count:
            return found
    for lock in found:
        lock.release()
    return []


def _wait_for(look: Callable[[], _T]) -> _T:
    """Until something is found; two that each hold a part of what the other needs let go and come again."""
    while not (found := look()):
        time.sleep(random.uniform(0.1, 0.3))
    return found
