"""Grey values: which become 0 and 255, for a whole stack or slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.data.description import IntensityDescription
from fibseg.errors import FibsegError

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class GreyRange:
    """Grey values that become 0 and 255.

    Attributes:
        low, high: of the training slices.
        percentiles: where set, every slice has a window of its own at these percentiles of its pixels, which takes out
            drift of brightness and contrast; a slice of one grey value takes the one of the training.
    """

    low: float
    high: float
    percentiles: tuple[float, float] | None = None

    def of(self, image: NDArray[Any]) -> tuple[float, float]:
        """Grey values that become 0 and 255 in this slice (H, W)."""
        if self.percentiles is None:
            return self.low, self.high
        low, high = (float(value) for value in np.percentile(image, self.percentiles))
        return (low, high) if high > low else (self.low, self.high)

    def outside(self, image: NDArray[Any]) -> float:
        """Share of the pixels that are darker or brighter than the window."""
        low, high = self.of(image)
        return float(((image < low) | (image > high)).mean())


def grey_range(images: Sequence[NDArray[Any]], intensity: IntensityDescription) -> GreyRange:
    """The window of a description: percentiles over all pixels of the training slices."""
    pixels = np.concatenate([image.ravel() for image in images])
    low, high = (float(value) for value in np.percentile(pixels, [intensity.low, intensity.high]))
    if not high > low:
        raise FibsegError(f"data.intensity: the training slices have one grey value only ({low}).")
    return GreyRange(
        low, high, (intensity.low, intensity.high) if intensity.per == "slice" else None
    )


def to_8bit(image: NDArray[Any], window: GreyRange) -> UInt8:
    """Grey values (H, W) -> uint8: the window's ends become 0 and 255, values outside it are clipped.

    >>> to_8bit(np.array([[0, 100, 300]]), Window(0.0, 200.0)).tolist()
    [[0, 128, 255]]
    """
    low, high = window.of(image)
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)
