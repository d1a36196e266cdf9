"""Random objects that touch, as ids, and predictions of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


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
