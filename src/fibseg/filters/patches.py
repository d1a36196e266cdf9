"""The grain filter on single patches and windows (`filter.scope=patch`).

The authors of the paper ran it so. Higra and pylena hold Python's interpreter lock while they build
a tree, so worker processes compute the trees, ahead of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

import numpy as np

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.filters.grain import grain_filter
from fibseg.machine import start_workers, stop_workers

_DIED = (
    "a process that filters patches died, perhaps out of memory; "
    "take fewer (machine.processes, or threads)."
)


def filter_patches(patches: UInt8, areas: Sequence[int]) -> UInt8:
    """Filter patches (N, H, W) into channels (N, 1 + len(areas), H, W), from one tree for each."""
    channels = [np.concatenate([patch[None], grain_filter(patch, areas)]) for patch in patches]
    return np.stack(channels)


class PatchFilter:
    """`filter_patches` in worker processes; for one process, in the calling one.

    Close it, or use it in `with`.
    """

    def __init__(self, areas: Sequence[int], processes: int):
        """Take areas in pixels, as in `grain_filter`. Workers start with the first patch."""
        self.areas = list(areas)
        self.processes = processes
        # A single worker would only add the copying of patches to and fro.
        self._pool = start_workers(processes) if processes > 1 else None

    def submit(self, patches: UInt8) -> Future[UInt8]:
        """Begin with (N, H, W) patches; `channels_of` gives the result.

        Raises:
            FibsegError: a worker died.
        """
        if self._pool is not None:
            try:
                return self._pool.submit(filter_patches, patches, self.areas)
            except BrokenProcessPool:
                raise FibsegError(_DIED) from None
        # A future that is done, so that a caller needs no second way for one process.
        done: Future[UInt8] = Future()
        done.set_result(filter_patches(patches, self.areas))
        return done

    def __call__(self, patches: UInt8) -> UInt8:
        """Filter (N, H, W) patches, shared out over the workers."""
        # As many parts as workers, since a part costs a copy into the process and back.
        parts = np.array_split(patches, min(self.processes, len(patches)))
        futures = [self.submit(part) for part in parts]
        return np.concatenate([channels_of(future) for future in futures])

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            stop_workers(self._pool)

    def __enter__(self) -> PatchFilter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def channels_of(future: Future[UInt8]) -> UInt8:
    """Wait for the result of `PatchFilter.submit`: channels (N, 1 + len(areas), H, W).

    Raises:
        FibsegError: the worker died.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise FibsegError(_DIED) from None
