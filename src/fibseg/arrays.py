"""Shared types: arrays by what they hold, the class index IGNORE, sizes and places of slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
"""Floating-point values of any precision."""
Mask = NDArray[np.bool_]
Pixels = NDArray[Any]
"""Grey values or labels of any type, mostly a slice (H, W)."""

IGNORE = 255
"""Class index of an unannotated pixel: it has no part in loss and scores. Classes are 0 to 254."""

MOST_PIXELS = 2**30
"""Pixels of the largest slice: its positions are numbers of four bytes, with room for a frame."""


class Place(NamedTuple):
    """Where a slice lies: the number of its volume in the data description, and z in the image."""

    volume: int
    z: int


def consecutive_places(places: Sequence[Place]) -> list[list[int]]:
    """Positions of slices that follow each other in one volume.

    >>> consecutive_places([Place(0, 3), Place(0, 4), Place(0, 6), Place(1, 7)])
    [[0, 1], [2], [3]]
    """
    # Pages need not be in the order of z.
    order = sorted(range(len(places)), key=lambda k: places[k])
    blocks: list[list[int]] = []
    for k in order:
        volume, z = places[k]
        if blocks and places[blocks[-1][-1]] == Place(volume, z - 1):
            blocks[-1].append(k)
        else:
            blocks.append([k])
    return blocks
