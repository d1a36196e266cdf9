"""The walk of pixels down the trees of a forest, compiled by numba at its first use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

LANES = 8
"""Pixels that go down a tree side by side: while one waits for memory, the others go on."""


class Trees(NamedTuple):
    """Trees in arrays without a branch: a leaf is its own child, so a pixel that has arrived stays.

    Attributes:
        starts: (T,) root of each tree.
        child: (2 M,) of node n at 2 n where the feature is at most its threshold, else at 2 n + 1.
        threshold: (M,) float32.
        feature: (M,) a node asks for; 0 for a leaf.
        row: (M,) of `shares`, for a leaf.
        shares: (R, K) of the classes.
    """

    starts: NDArray[np.int64]
    child: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    feature: NDArray[np.uint32]
    row: NDArray[np.uint32]
    shares: NDArray[np.float64]


def trees_of(arrays: dict[str, NDArray[Any]]) -> Trees:
    """Of the arrays of a `ForestNetwork` that its `check` has passed: the walk follows indices without looking."""
    starts, inner = arrays["starts"], arrays["left"] >= 0
    first, own = np.repeat(starts[:-1], np.diff(starts)), np.arange(len(inner))
    sides = [np.where(inner, arrays[name] + first, own) for name in ("left", "right")]
    return Trees(
        starts=starts[:-1].copy(),
        child=np.stack(sides, axis=1).astype(np.uint32).ravel(),
        threshold=arrays["threshold"],
        feature=np.where(inner, arrays["feature"], 0).astype(np.uint32),
        row=arrays["row"].astype(np.uint32),
        shares=arrays["shares"],
    )


def add_shares(
    trees: Trees, first: int, end: int, rows: NDArray[np.float32], pixels: Any, sums: Any
) -> None:
    """Add to `sums` (N, K) what the trees from `first` to before `end` say of some `pixels` (P,) of `rows` (N, F)."""
    if len(pixels):
        padded = np.concatenate([pixels, np.repeat(pixels[-1:], -len(pixels) % LANES)])
        _walk(*trees, first, end, rows, padded, len(pixels), sums)


@njit(nogil=True)
def _walk(
    starts: Any,
    child: Any,
    threshold: Any,
    feature: Any,
    row: Any,
    shares: Any,
    first: int,
    end: int,
    rows: Any,
    pixels: Any,
    count: int,
    sums: Any,
) -> None:
    """Indices are unsigned everywhere: numba would look whether a signed one is below zero."""
    flat, width, classes = rows.ravel(), np.uintp(rows.shape[1]), shares.shape[1]
    node, base = np.empty(LANES, np.uintp), np.empty(LANES, np.uintp)
    for tree in range(first, end):
        for begin in range(0, count, LANES):
            for lane in range(LANES):
                node[lane] = np.uintp(starts[tree])
                base[lane] = np.uintp(pixels[begin + lane]) * width
            moving = True
            while moving:
                moving = False
                for lane in range(LANES):
                    own = node[lane]
                    above = np.uintp(flat[base[lane] + np.uintp(feature[own])] > threshold[own])
                    node[lane] = np.uintp(child[np.uintp(2) * own + above])
                    moving |= node[lane] != own
            for lane in range(min(LANES, count - begin)):
                pixel, place = pixels[begin + lane], row[node[lane]]
                for index in range(classes):
                    sums[pixel, index] += shares[place, index]
