"""Shared types: arrays by what they hold, the class index IGNORE, places of slices."""

from __future__ import annotations

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


class Place(NamedTuple):
    """Where a slice lies: the number of its volume in the data description, and z in the image."""

    volume: int
    z: int
