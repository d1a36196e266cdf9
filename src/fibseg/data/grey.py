"""Grey values: which become 0 and 255, for a whole stack or slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Pixels, UInt8
from fibseg.data.description import IntensityDescription
from fibseg.errors import FibsegError

DRIFTED_SHARE = 0.05
"""Share of a slice's pixels outside the training's grey range above which it has drifted."""


@dataclass(frozen=True)
class GreyRange:
    """Grey values that become 0 and 255.

    Attributes:
        low: of the training slices, becomes 0.
        high: of the training slices, becomes 255.
        percentiles: where they are set, every slice has its own grey range, from these percentiles
            of its pixels. This takes out drift of brightness and contrast. A slice of one grey
            value takes the grey range of the training.
    """

    low: float
    high: float
    percentiles: tuple[float, float] | None = None

    def limits(self, image: Pixels) -> tuple[float, float]:
        """Compute the grey values that become 0 and 255 in this slice (H, W)."""
        if self.percentiles is None:
            return self.low, self.high
        low, high = (float(value) for value in np.percentile(image, self.percentiles))
        # A slice without contrast has no scale, and a division by zero would follow.
        return (low, high) if high > low else (self.low, self.high)

    def outside(self, image: Pixels) -> float:
        """Compute the share of the pixels that are darker or brighter than the grey range."""
        low, high = self.limits(image)
        return float(((image < low) | (image > high)).mean())


def grey_range(images: Sequence[Pixels], intensity: IntensityDescription) -> GreyRange:
    """Compute the grey range of a description from the percentiles of all training pixels.

    Raises:
        FibsegError: the slices have one grey value only.
    """
    # All slices together, since a mean of percentiles would depend on how slices are cut.
    pixels = np.concatenate([image.ravel() for image in images])
    # Python's floats: checkpoints hold built-in types only, which excludes NumPy's scalars.
    low, high = (float(value) for value in np.percentile(pixels, [intensity.low, intensity.high]))
    if not high > low:
        raise FibsegError(f"data.intensity: the training slices have one grey value only ({low}).")
    # The range of the training is kept with `per: slice` too: a slice without contrast takes it.
    return GreyRange(low, high, slice_percentiles(intensity))


def slice_percentiles(intensity: IntensityDescription) -> tuple[float, float] | None:
    """Give the percentiles of a grey range where every slice has its own, else None."""
    return (intensity.low, intensity.high) if intensity.per == "slice" else None


def to_8bit(image: Pixels, grey_range: GreyRange) -> UInt8:
    """Map grey values (H, W) to uint8: the ends of the grey range become 0 and 255.

    Values outside the range are clipped.

    >>> to_8bit(np.array([[0, 100, 300]]), GreyRange(0.0, 200.0)).tolist()
    [[0, 128, 255]]
    """
    low, high = grey_range.limits(image)
    # float32 is exact enough for 8 bits and takes half the memory of numpy's float64.
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    # Clipped before the cast, which would wrap around: 256 would become 0.
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)
