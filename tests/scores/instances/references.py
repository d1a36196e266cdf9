"""Object scores done slowly: sets of pixels, and an assignment by SciPy."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def objects_of(ids: np.ndarray) -> dict[int, set[int]]:
    """Id -> flat positions of its pixels."""
    flat = ids.ravel().tolist()
    return {i: {k for k, value in enumerate(flat) if value == i} for i in set(flat) - {0}}


def overlaps_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Intersection over union of every true object with every predicted one."""
    rows = objects_of(truth).values()
    columns = objects_of(prediction).values()
    ratios = [[len(a & b) / len(a | b) for b in columns] for a in rows]
    return np.array(ratios).reshape(len(rows), len(columns))


def assigned(ratios: np.ndarray, threshold: float) -> list[float]:
    """Ratios of the pairs that are matched at most, as StarDist and elf assign them."""
    if not ratios.size:
        return []
    # Most pairs first, then the largest ratios; a hair less, as .55 is not a float.
    reaches = ratios >= threshold - 1e-9
    costs = -reaches.astype(float) - ratios / (2 * min(ratios.shape))
    rows, columns = linear_sum_assignment(costs)
    return [float(r) for r in ratios[rows, columns] if r >= threshold - 1e-9]
