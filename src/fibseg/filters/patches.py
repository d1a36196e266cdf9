"""The grain filter on single patches and windows (`filter.scope=patch`).

The authors of the paper ran it so. Threads filter ahead of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from fibseg.arrays import UInt8
from fibseg.filters.grain import grain_filter


def filter_patches(patches: UInt8, areas: Sequence[int]) -> UInt8:
    """Filter patches (N, H, W) into channels (N, 1 + len(areas), H, W), from one tree for each."""
    channels = [np.concatenate([patch[None], grain_filter(patch, areas)]) for patch in patches]
    return np.stack(channels)


class PatchFilter:
    """`filter_patches` in threads, which run side by side with Python.

    Close it, or use it in `with`.
    """

    def __init__(self, areas: Sequence[int], threads: int):
        """Take areas in pixels, as in `grain_filter`. Threads start with the first patches."""
        self.areas = list(areas)
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, patches: UInt8) -> Future[UInt8]:
        """Begin with (N, H, W) patches; the result is (N, 1 + len(areas), H, W)."""
        return self._pool.submit(filter_patches, patches, self.areas)

    def __call__(self, patches: UInt8) -> UInt8:
        """Filter (N, H, W) patches, shared out over the threads."""
        parts = np.array_split(patches, min(self.threads, len(patches)))
        futures = [self.submit(part) for part in parts]
        return np.concatenate([future.result() for future in futures])

    def close(self) -> None:
        """End the threads; patches that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> PatchFilter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
