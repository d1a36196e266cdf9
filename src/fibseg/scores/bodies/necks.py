"""Objects that hang together by a thin neck, divided there by their thickness."""

from __future__ import annotations

import math

import numpy as np

from fibseg.arrays import Ints, Mask

_STEPS = 100
"""Steps of the thickness for each factor of e: a hundredth is finer than voxels are."""


def split_at_necks(mask: Mask, spacing: tuple[float, float, float], share: float) -> Ints:
    """Divide a mask where it is thinner than a share of the parts on both sides.

    A part begins at a place of greatest distance to the surface. Two of them are parts of their own
    where each way between them leads through a neck whose distance to the surface is at most
    `share` of that of the thinner one. Watersheds of the distance divide them.

    Args:
        mask: (D, H, W) of a connected object.
        spacing: size of a voxel (z, y, x).
        share: between 0 and 1; a smaller one divides less.

    Returns:
        (D, H, W) numbers of the parts from 1, 0 outside the mask.
    """
    from scipy import ndimage
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(padded, sampling=spacing)
    # A quotient is a difference of logarithms, and in whole numbers a maximum has no rounding.
    height = np.zeros(padded.shape, np.int64)
    height[padded] = np.rint(_STEPS * np.log(distance[padded] / min(spacing))) + 1
    depth = max(1, round(-_STEPS * math.log(share)))
    corners = np.ones((3, 3, 3))
    # Cut off by `depth`, peaks without a neck between them become one plateau. (h_maxima of
    # scikit-image would mark two peaks of one height apart.)
    lowered = np.maximum(height - depth, 0)
    flooded = reconstruction(lowered, height, footprint=corners)  # type: ignore[no-untyped-call]
    peaks = local_maxima(flooded, footprint=corners)  # type: ignore[no-untyped-call]
    seeds, count = ndimage.label(peaks & padded, corners)
    if count < 2:
        return mask.astype(np.int64)
    parts = watershed(-distance, seeds, mask=padded, connectivity=corners)  # type: ignore[no-untyped-call]
    return np.asarray(parts[1:-1, 1:-1, 1:-1], np.int64)
