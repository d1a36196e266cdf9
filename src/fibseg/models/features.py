"""Features of pixels at several scales: the full set of Ilastik's pixel classification, in 2-D.

Berg et al., Nature Methods 16, 2019, doi:10.1038/s41592-019-0582-9. Filters are Gaussian
derivatives of sigma in pixels, cut off at TRUNCATE sigma, mirrored at the borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.arrays import Floats, Ints, UInt8
from fibseg.errors import FibsegError

SCALES = (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
"""Sigma of each scale with all of FEATURE_KINDS, in pixels."""

FINEST_SCALE = 0.3
"""Sigma of one more scale, at which the image is smoothed and nothing else."""

TRUNCATE = 4.0
"""Radius of a filter, as a multiple of sigma."""

OUTER_SHARE = 0.5
"""Outer scale of the structure tensor, as a share of sigma."""

FINER_SHARE = 0.66
"""Second scale of the difference of Gaussians, as a share of sigma."""

FEATURE_KINDS = (
    "smoothed",
    "laplacian",
    "gradient",
    "difference",
    "structure 1",
    "structure 2",
    "hessian 1",
    "hessian 2",
)
"""Features of each scale, in order; 1 is the larger eigenvalue."""

FEATURES_PER_CHANNEL = 1 + len(SCALES) * len(FEATURE_KINDS)
"""Number of features of the image, and of each filtered version of it."""

SMALLEST_SIDE = int(TRUNCATE * SCALES[-1] + 0.5) + 1
"""Pixels that a side of a slice must have, so that the largest filter is mirrored once at most."""

REACH = SMALLEST_SIDE - 1 + int(TRUNCATE * OUTER_SHARE * SCALES[-1] + 0.5)
"""How far the features of a pixel look, in pixels: the structure tensor filters twice."""


def feature_names(areas: Sequence[int] = ()) -> list[str]:
    """Name the features of an image and its versions by areas, in the order of `pixel_features`."""
    channels = ["image", *(f"area {area}" for area in areas)]
    kinds = [f"smoothed {FINEST_SCALE:g}"]
    kinds += [f"{kind} {sigma:g}" for sigma in SCALES for kind in FEATURE_KINDS]
    return [f"{channel}: {kind}" for channel in channels for kind in kinds]


def check_size(height: int, width: int) -> None:
    """Check that a slice is as large as the largest filter.

    Raises:
        FibsegError: it is smaller.
    """
    if min(height, width) < SMALLEST_SIDE:
        raise FibsegError(
            f"a slice of {height} x {width} pixels is smaller than the largest feature: "
            f"sigma {SCALES[-1]:g} needs {SMALLEST_SIDE} pixels a side."
        )


def pixel_features(channels: UInt8, threads: int = 1, positions: Ints | None = None) -> Floats:
    """Compute the features of pixels from the channels (C, H, W) of a slice.

    Args:
        channels: the image, then its filtered versions.
        threads: how many scales of channels are computed at one time.
        positions: flat positions (N,) of the pixels to compute; None for all.

    Returns:
        float32 features (C * FEATURES_PER_CHANNEL, H, W) in the order of `feature_names`, or
        (C * FEATURES_PER_CHANNEL, N) at the positions.

    Raises:
        FibsegError: the slice is smaller than the largest filter.
    """
    height, width = channels.shape[1:]
    check_size(height, width)
    shape = (height, width) if positions is None else (len(positions),)
    features = np.empty((len(channels) * FEATURES_PER_CHANNEL, *shape), np.float32)
    jobs = []
    row = 0
    for channel in channels:
        for sigma in (FINEST_SCALE, *SCALES):
            # Where the features of a scale begin: threads fill their rows in any order.
            jobs.append((channel, sigma, row))
            row += 1 if sigma == FINEST_SCALE else len(FEATURE_KINDS)

    def fill(job: tuple[UInt8, float, int]) -> None:
        channel, sigma, first = job
        of_scale = _features_of_scale(channel.astype(np.float32), sigma)
        if positions is not None:
            # At the positions only, scale by scale: all pixels of all scales would take
            # hundreds of megabytes.
            of_scale = of_scale.reshape(len(of_scale), -1)[:, positions]
        features[first : first + len(of_scale)] = of_scale

    # Threads are enough: scipy's filters release Python's interpreter lock.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, jobs))
    return features


def _features_of_scale(image: Floats, sigma: float) -> Floats:
    """Compute the features (8, H, W) of a channel (H, W); one, smoothed, at the finest scale."""
    if sigma == FINEST_SCALE:
        return _filtered(image, sigma, 0, 0)[None]
    # Filters are separable. What several derivatives share along rows is computed once.
    along_rows = [_filtered_along(image, sigma, order, 1) for order in (0, 1, 2)]
    smooth, across, across_twice = (_filtered_along(rows, sigma, 0, 0) for rows in along_rows)
    down, mixed = (_filtered_along(rows, sigma, 1, 0) for rows in along_rows[:2])
    down_twice = _filtered_along(along_rows[0], sigma, 2, 0)
    # The structure tensor: products of the gradient, smoothed at the outer scale.
    products = (down * down, down * across, across * across)
    tensor = [_filtered(product, OUTER_SHARE * sigma, 0, 0) for product in products]
    return np.stack(
        [
            smooth,
            down_twice + across_twice,
            np.hypot(down, across),
            smooth - _filtered(image, FINER_SHARE * sigma, 0, 0),
            *_eigenvalues(*tensor),
            *_eigenvalues(down_twice, mixed, across_twice),
        ]
    )


def _filtered(image: Floats, sigma: float, down: int, across: int) -> Floats:
    """Take the Gaussian derivative of these orders along columns (down) and rows (across)."""
    return _filtered_along(_filtered_along(image, sigma, across, 1), sigma, down, 0)


def _filtered_along(image: Floats, sigma: float, order: int, axis: int) -> Floats:
    """Take the Gaussian derivative along one axis, kept in 32 bits."""
    weights = _kernel(sigma, order)
    return np.asarray(
        ndimage.correlate1d(image, weights, axis=axis, mode="reflect", output=np.float32)
    )


@cache
def _kernel(sigma: float, order: int) -> NDArray[np.float64]:
    """Compute the weights of `ndimage.gaussian_filter1d`, in the order of a correlation."""
    # Its answer to a single 1 is the kernel; scipy would compute it anew for every slice.
    radius = int(TRUNCATE * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    answer = ndimage.gaussian_filter1d(
        impulse, sigma, order=order, truncate=TRUNCATE, mode="constant"
    )
    return np.asarray(answer)[::-1]


def _eigenvalues(first: Floats, mixed: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Compute larger and smaller eigenvalue of the matrices [[first, mixed], [mixed, second]]."""
    # float32 constants, so that the arithmetic stays in 32 bits.
    middle = np.float32(0.5) * (first + second)
    half = np.float32(0.5) * (first - second)
    # In closed form: linalg.eigvalsh on each pixel is far slower.
    root = np.hypot(half, mixed)
    return middle + root, middle - root
