"""Who on a machine uses which GPU and which cores: locks in the temporary folder, so that two sweeps share them too."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def own_place(gpu: str | None, runs_per_gpu: int, runs_here: int, cores_per_run: int) -> Iterator[str]:
    """Wait for a place on the GPU and for cores that no other run of this user has, and stay on these cores.

    Gives a description of the place.

    Args:
        gpu: what CUDA_VISIBLE_DEVICES names; None without one.
        runs_per_gpu: places on that GPU.
        runs_here: that may be on this machine at once; they share its cores where there are more runs than cores.
        cores_per_run: cores of a run, out of those that this process may use.
    """
    cores = sorted(os.sched_getaffinity(0))
    groups = max(1, len(cores) // cores_per_run)
    held = [] if gpu is None else [_claim([f"gpu-{gpu}-{i}" for i in range(runs_per_gpu)])[0]]
    lock, number = _claim([f"cores-{cores_per_run}-{i}" for i in range(max(groups, runs_here))])
    held.append(lock)
    first = number % groups * cores_per_run
    own = cores[first : first + cores_per_run]
    os.sched_setaffinity(0, own)
    try:
        yield ", ".join([*([] if gpu is None else [f"GPU {gpu}"]), f"cores {own}"])
    finally:
        os.sched_setaffinity(0, cores)
        for one in held:
            one.release()


def _claim(names: Sequence[str]) -> tuple[FileLock, int]:
    """The first lock of these that is free, and its position; waits until one is."""
    folder = Path(tempfile.gettempdir()) / f"fibseg-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        for number, name in enumerate(names):
            lock = FileLock(folder / f"{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return lock, number
        time.sleep(0.2)
