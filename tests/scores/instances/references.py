"""Random objects, and their scores done slowly: sets of pixels, and an assignment by SciPy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment


def blobs(rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.5) -> np.ndarray:
    """Smooth random objects, touching ones among them: a mask cut by a coarse random grid."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    cells = ndimage.zoom(rng.integers(1, 5, [max(1, n // 5) for n in shape]), 5, order=0)
    padded = np.pad(cells, [(0, max(0, n - m)) for n, m in zip(shape, cells.shape, strict=True)])
    parts = padded[tuple(slice(0, n) for n in shape)] * (field > np.quantile(field, share))
    ids = np.zeros(shape, np.int64)
    for value in range(1, 5):
        numbers, _ = ndimage.label(parts == value)
        ids[numbers > 0] = numbers[numbers > 0] + ids.max()
    return ids


def disturbed(rng: np.random.Generator, ids: np.ndarray) -> np.ndarray:
    """A prediction: the objects moved, some merged, some lost, some split, other numbers."""
    moved = np.roll(ids, rng.integers(-1, 2, ids.ndim), tuple(range(ids.ndim)))
    table = np.arange(ids.max() + 1) * 7 + 3
    table[rng.random(len(table)) < 0.1] = 0
    table[rng.random(len(table)) < 0.1] = 10
    table[0] = 0
    prediction = table[moved]
    prediction[: ids.shape[0] // 3][prediction[: ids.shape[0] // 3] > 40] += 1000
    return prediction


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
