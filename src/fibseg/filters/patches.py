"""The grain filter on single patches and windows (`filter.scope=patch`).

The authors of the paper ran it so. Threads filter ahead of the training.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import numpy as np

from fibseg.arrays import UInt8
from fibseg.filters.grain import grain_filter


def filter_patches(patches: UInt8, areas: Sequence[int]) -> UInt8:
    """Filter patches (N, H, W) into channels (N, 1 + len(areas), H, W), from one tree for each."""
    channels = [np.concatenate([patch[None], grain_filter(patch, areas)]) for patch in patches]
    return np.stack(channels)


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def prefetched(
    items: Iterable[_Item], begin: Callable[[_Item], Callable[[], _Result]], count: int
) -> Iterator[_Result]:
    """Give the result of each item, in order, while threads are at up to `count` further ones.

    `begin` starts with an item; what it returns waits for the result.
    """
    waiting: deque[Callable[[], _Result]] = deque()
    for item in items:
        waiting.append(begin(item))
        if len(waiting) > count:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


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

    def begin(self, patches: UInt8) -> Callable[[], UInt8]:
        """Begin with (N, H, W) patches, shared out over the threads; a call waits for the result.

        That is (N, 1 + len(areas), H, W).
        """
        parts = np.array_split(patches, min(self.threads, len(patches)))
        futures = [self.submit(part) for part in parts]
        return lambda: np.concatenate([future.result() for future in futures])

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
