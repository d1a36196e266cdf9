"""Memory of scores and measures of objects does not grow with the depth of the stack."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from fibseg.data.scoring import pair_stacks
from fibseg.data.scoring.objects import score_ids
from fibseg.scores.bodies.distances import measure_distances
from fibseg.scores.bodies.ids import find_ids
from fibseg.scores.bodies.shapes import measure_shapes
from fibseg.stack import Stack

SIDE = 160
COLUMNS = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((40, 40), int))
COLUMNS[::4] = 0


def read(z: int) -> np.ndarray:
    """Ids (H, W) of 16 columns that go through all slices and sway."""
    return np.roll(COLUMNS, z % 7, 1)


def classes(z: int) -> np.ndarray:
    return np.where(read(z) > 8, 2, read(z) > 0).astype(np.uint8)


def score(depth: int) -> None:
    stack = Stack("here", (depth, SIDE, SIDE), np.dtype(np.int64), read)
    score_ids(pair_stacks(stack, stack, None, None, reviewed=None))


def measure(depth: int) -> None:
    spacing = (20.0, 5.0, 5.0)
    objects = find_ids(read, (depth, SIDE, SIDE), spacing, read_classes=classes)
    measure_shapes(objects, 2, classes)
    measure_distances(objects, 2, classes)


def peak(work: Callable[[int], None], depth: int) -> int:
    tracemalloc.start()
    work(depth)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("work", [score, measure])
def test_peak_of_40_and_of_200_slices(work: Callable[[int], None]) -> None:
    work(3)  # what is compiled and imported once
    assert peak(work, 200) < 1.05 * peak(work, 40)
