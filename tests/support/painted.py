"""Stacks in which some slices are painted."""

from __future__ import annotations

import numpy as np


def painted_stacks(
    slices: list[int], depth: int = 12, side: int = 32, value: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels (depth, side, side) uint8: values 1 and `value` in some slices."""
    image = np.random.default_rng(0).integers(0, 200, (depth, side, side)).astype(np.uint8)
    labels = np.zeros((depth, side, side), np.uint8)
    for z in slices:
        labels[z, 2:10, 2 : 10 + z % 3] = 1
        labels[z, 20:26, 4:14] = value
    return image, labels
