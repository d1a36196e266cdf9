"""Features of pixels at several scales, the full set of Ilastik's pixel classification in 2-D (Berg et al., 2019).

Nature Methods 16, doi:10.1038/s41592-019-0582-9. Filters are Gaussian derivatives of sigma in pixels, cut off at
TRUNCATE sigma, mirrored at the borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.errors import FibsegError

Floats = NDArray[np.float32]

SCALES = (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
SMOOTHED_ONLY = 0.3
"""The finest scale: smoothing alone."""

TRUNCATE = 4.0
INNER, FINER = 0.5, 0.66
"""Outer scale of the structure tensor, and the second scale of the difference of Gaussians, as shares of sigma."""

KINDS = (
    "smoothed",
    "laplacian",
    "gradient",
    "difference",
    "structure 1",
    "structure 2",
    "hessian 1",
    "hessian 2",
)
"""Of each scale, in order; 1 is the larger eigenvalue."""


FEATURES = 1 + len(SCALES) * len(KINDS)
"""Of each channel."""

NEEDED = int(TRUNCATE * SCALES[-1] + 0.5) + 1
"""Pixels that a side of a slice must have: the largest filter is mirrored once."""

REACH = NEEDED - 1 + int(TRUNCATE * INNER * SCALES[-1] + 0.5)
"""How far the features of a pixel look, in pixels."""


def feature_names(areas: Sequence[int] = ()) -> list[str]:
    """Names in the order of `pixel_features`, of the image and of its versions filtered with these areas."""
    channels = ["image", *(f"area {area}" for area in areas)]
    own = [
        f"smoothed {SMOOTHED_ONLY:g}",
        *(f"{kind} {sigma:g}" for sigma in SCALES for kind in KINDS),
    ]
    return [f"{channel}: {name}" for channel in channels for name in own]


def check_size(height: int, width: int) -> None:
    """FibsegError where a slice is smaller than the largest filter."""
    if min(height, width) < NEEDED:
        raise FibsegError(
            f"a slice of {height} x {width} pixels is smaller than the largest feature: sigma {SCALES[-1]:g} needs "
            f"{NEEDED} pixels a side."
        )


def pixel_features(
    channels: NDArray[np.uint8], threads: int = 1, positions: NDArray[np.int64] | None = None
) -> Floats:
    """Channels (C, H, W) of a slice -> features (C * FEATURES, H, W), in the order of `feature_names`.

    Of some pixels only, at flat `positions` (N,), they are (C * FEATURES, N).

    Raises:
        FibsegError: the slice is smaller than the largest filter.
    """
    height, width = channels.shape[1:]
    check_size(height, width)
    found = np.empty(
        (len(channels) * FEATURES, *((height, width) if positions is None else (len(positions),))),
        "f4",
    )
    jobs, first = [], 0
    for channel in channels:
        for sigma in (SMOOTHED_ONLY, *SCALES):
            jobs.append((channel, sigma, first))
            first += 1 if sigma == SMOOTHED_ONLY else len(KINDS)

    def fill(job: tuple[NDArray[np.uint8], float, int]) -> None:
        channel, sigma, place = job
        own = _of_scale(channel.astype(np.float32), sigma)
        found[place : place + len(own)] = (
            own if positions is None else own.reshape(len(own), -1)[:, positions]
        )

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, jobs))
    return found


def _of_scale(image: Floats, sigma: float) -> Floats:
    """One channel (H, W) at one scale: (8, H, W), or the smoothed image alone (1, H, W) at the finest."""
    if sigma == SMOOTHED_ONLY:
        return _filtered(image, sigma, 0, 0)[None]
    along = [_along(image, sigma, order, 1) for order in (0, 1, 2)]
    smooth, across, across_twice = (_along(one, sigma, 0, 0) for one in along)
    down, both = (_along(one, sigma, 1, 0) for one in along[:2])
    down_twice = _along(along[0], sigma, 2, 0)
    outer = INNER * sigma
    tensor = [_filtered(one, outer, 0, 0) for one in (down * down, down * across, across * across)]
    return np.stack(
        [
            smooth,
            down_twice + across_twice,
            np.hypot(down, across),
            smooth - _filtered(image, FINER * sigma, 0, 0),
            *_eigenvalues(*tensor),
            *_eigenvalues(down_twice, both, across_twice),
        ]
    )


def _filtered(image: Floats, sigma: float, down: int, across: int) -> Floats:
    """Gaussian derivative of these orders along rows and columns."""
    return _along(_along(image, sigma, across, 1), sigma, down, 0)


def _along(image: Floats, sigma: float, order: int, axis: int) -> Floats:
    found: Floats = ndimage.correlate1d(
        image, _kernel(sigma, order), axis=axis, mode="reflect", output=np.float32
    )
    return found


@cache
def _kernel(sigma: float, order: int) -> NDArray[np.float64]:
    """Weights of a Gaussian or a derivative, as `ndimage.gaussian_filter1d` has them, to correlate with."""
    radius = int(TRUNCATE * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    return np.asarray(
        ndimage.gaussian_filter1d(impulse, sigma, order=order, truncate=TRUNCATE, mode="constant")
    )[::-1]


def _eigenvalues(first: Floats, mixed: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Of the symmetric matrices [[first, mixed], [mixed, second]], the larger one before the smaller."""
    middle, half = np.float32(0.5) * (first + second), np.float32(0.5) * (first - second)
    root: Floats = np.hypot(half, mixed)
    return middle + root, middle - root
