"""Blocks of slices, which processes take one after the other as they get on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.prediction.output.session import write_errors_named

LEAST_IN_BLOCK = 8
"""Slices of a block: few, so that a slow process does not hold up the others at the end."""

MOST_IN_BLOCK = 64
"""Slices of a block where the image is stored in deep chunks."""


def blocks_of(depth: int, first: Sequence[int], layer: int = 1) -> list[list[int]]:
    """Divide the slices of a stack into blocks; all processes divide it alike.

    Args:
        depth: number of slices.
        first: slices over the whole stack that make the first block.
        layer: slices that the image stores together, which no two processes should read.

    >>> blocks_of(20, [3, 10])
    [[3, 10], [0, 1, 2, 4, 5, 6, 7], [8, 9, 11, 12, 13, 14, 15], [16, 17, 18, 19]]
    """
    size = min(-(-LEAST_IN_BLOCK // layer) * layer, MOST_IN_BLOCK)
    ranges = [range(start, min(start + size, depth)) for start in range(0, depth, size)]
    rest = [[z for z in block if z not in first] for block in ranges]
    return [block for block in (list(first), *rest) if block]


class Claims:
    """The slices that this process labels: those of blocks that no other one has.

    Iterated, it takes block after block until every slice is labelled or in the hands of another
    process; what a process that died had taken is free again.
    """

    def __init__(self, folder: Path, blocks: Sequence[Sequence[int]], has: Callable[[int], bool]):
        """Take nothing yet.

        Args:
            folder: of the locks of the blocks.
            blocks: positions of the slices.
            has: whether a slice is labelled.
        """
        self._folder = folder
        self._blocks = blocks
        self._has = has
        self._taken: set[int] = set()
        self._left: dict[int, set[int]] = {}
        self._locks: dict[int, FileLock] = {}

    def __iter__(self) -> Iterator[int]:
        is_getting_on = True
        # Again and again: a process may have died with a block in the meantime.
        while is_getting_on:
            is_getting_on = False
            for number in range(len(self._blocks)):
                for z in self._take(number):
                    is_getting_on = True
                    yield z

    def _missing(self, number: int) -> list[int]:
        # A slice that could not be read is not tried twice by one process.
        return [z for z in self._blocks[number] if z not in self._taken and not self._has(z)]

    def _take(self, number: int) -> list[int]:
        """Take a block, and list what is missing of it; nothing where another process has it."""
        if not self._missing(number):
            return []
        lock = FileLock(self._folder / f".block-{number}.lock", timeout=0, thread_local=False)
        try:
            with write_errors_named(Path(lock.lock_file)):
                lock.acquire()
        except Timeout:
            return []
        # Again, under the lock: the process that had it may have ended it.
        missing = self._missing(number)
        if not missing:
            lock.release()
            return []
        self._taken.update(missing)
        self._left[number] = set(missing)
        self._locks[number] = lock
        return missing

    def end(self, z: int) -> None:
        """Say that a slice is labelled and kept, or cannot be; its block's last one frees it."""
        for number, left in list(self._left.items()):
            left.discard(z)
            if not left:
                del self._left[number]
                self._locks.pop(number).release()

    def close(self) -> None:
        """Free all blocks."""
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()
        self._left.clear()
