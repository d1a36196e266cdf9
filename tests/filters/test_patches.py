"""Single patches: each filtered by itself, in worker processes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.filters.grain import grain_filter
from fibseg.filters.patches import PatchFilter, channels_of

AREAS = [5, 40]


def patches(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 24, 30), np.uint8)


def by_hand(images: np.ndarray) -> np.ndarray:
    return np.array(
        [
            [image, *(grain_filter(image, [area], backend="higra")[0] for area in AREAS)]
            for image in images
        ]
    )


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("processes", [1, 2])
def test_each_patch_has_a_tree_of_its_own(processes: int) -> None:
    images = patches(5)
    with PatchFilter(AREAS, processes) as patch_filter:
        np.testing.assert_array_equal(patch_filter(images), by_hand(images))
        np.testing.assert_array_equal(
            channels_of(patch_filter.submit(images[:2])), by_hand(images[:2])
        )


@pytest.mark.slow(seconds=3)
def test_a_dead_worker_is_one_sentence() -> None:
    """For patches that it had, and for those that come after."""
    with PatchFilter(AREAS, 2) as patch_filter:
        patch_filter(patches(2))
        waiting = [patch_filter.submit(patches(200)) for _ in range(4)]
        for worker in list(patch_filter._pool._processes.values()):
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(FibsegError, match="a process that filters patches died"):
            for future in waiting:
                channels_of(future)
        with pytest.raises(FibsegError, match="a process that filters patches died"):
            patch_filter.submit(patches(2))
