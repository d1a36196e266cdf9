"""Random organelles: smooth blobs of two classes in a small stack."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def blobs(seed: int, shape: tuple[int, int, int] = (17, 24, 31)) -> np.ndarray:
    """Class indices 0 to 2; some blobs touch each other or the border of the stack."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.digitize(field, [0.06, 0.16]).astype(np.uint8)
