"""Shared types: arrays by what they hold, and where a slice lies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pixels = NDArray[Any]
"""(H, W) grey values or labels of any type."""

IGNORE = 255
"""Class index of a pixel that nobody annotated: no loss, no score. Classes are 0 to 254."""


class Place(NamedTuple):
    """Where a slice lies: the volume of its data description, and z in the image."""

    volume: int
    z: int
