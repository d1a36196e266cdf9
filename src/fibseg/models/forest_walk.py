"""The walk of pixels down the trees of a forest, compiled by numba at its first use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Floats, Ints
from fibseg.compiled import compiled

_LANES = 8
"""Pixels that go down a tree side by side: while one waits for memory, the others move."""


class Trees(NamedTuple):
    """Trees as arrays that are walked without a branch.

    A leaf is its own child, so that a pixel which has arrived stays there.

    Attributes:
        starts: (T,) root of each tree.
        child: (2 M,) child of node n: at 2 n where the feature is at most the threshold, else at
            2 n + 1.
        threshold: (M,) float32.
        feature: (M,) which feature a node compares; 0 for a leaf.
        row: (M,) row of `shares`, for a leaf.
        shares: (R, K) shares of the classes.
    """

    starts: NDArray[np.int64]
    child: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    feature: NDArray[np.uint32]
    row: NDArray[np.uint32]
    shares: NDArray[np.float64]


def walkable_trees(arrays: dict[str, NDArray[Any]]) -> Trees:
    """Make trees to walk from the arrays of a `ForestNetwork` that has passed its `check`."""
    starts = arrays["starts"]
    inner = arrays["left"] >= 0
    nodes = np.arange(len(inner))
    # Children are counted from the first node of their tree in the file, from 0 here.
    first_nodes = np.repeat(starts[:-1], np.diff(starts))
    sides = [np.where(inner, arrays[name] + first_nodes, nodes) for name in ("left", "right")]
    return Trees(
        starts=starts[:-1].copy(),
        child=np.stack(sides, axis=1).astype(np.uint32).ravel(),
        threshold=arrays["threshold"],
        feature=np.where(inner, arrays["feature"], 0).astype(np.uint32),
        row=arrays["row"].astype(np.uint32),
        shares=arrays["shares"],
    )


def add_shares(
    trees: Trees, first: int, end: int, rows: Floats, pixels: Ints, sums: Floats
) -> None:
    """Walk pixels down some trees, and add the shares of their leaves to `sums`.

    Args:
        trees: the whole forest.
        first: first tree to walk down.
        end: tree to stop before.
        rows: float32 features (N, F) of all pixels.
        pixels: (P,) which rows to walk with.
        sums: float64 sums (N, K) of shares, which are changed in place.
    """
    if len(pixels) == 0:
        return
    # The last pixel walks more than once where a group of lanes is not full.
    padded = np.concatenate([pixels, np.repeat(pixels[-1:], -len(pixels) % _LANES)])
    _walk(
        trees=trees,
        first=first,
        end=end,
        rows=rows,
        pixels=padded,
        count=len(pixels),
        sums=sums,
    )


# Compiled code follows indices without looking whether they lie inside the arrays, and with nogil
# several threads walk at one time.
@compiled
def _walk(
    trees: Any,
    first: int,
    end: int,
    rows: Any,
    pixels: Any,
    count: int,
    sums: Any,
) -> None:
    """Add the shares of the leaves that the first `count` pixels arrive at."""
    starts, child, threshold, feature, row, shares = trees
    # Indices are unsigned everywhere: of a signed one numba asks whether it is below zero.
    features = rows.ravel()
    width = np.uintp(rows.shape[1])
    classes = shares.shape[1]
    node = np.empty(_LANES, np.uintp)
    base = np.empty(_LANES, np.uintp)
    for tree in range(first, end):
        for begin in range(0, count, _LANES):
            for lane in range(_LANES):
                node[lane] = np.uintp(starts[tree])
                base[lane] = np.uintp(pixels[begin + lane]) * width
            moving = True
            while moving:
                moving = False
                for lane in range(_LANES):
                    here = node[lane]
                    # A NaN would go to the left; features have none, since images are whole
                    # numbers.
                    value = features[base[lane] + np.uintp(feature[here])]
                    above = np.uintp(value > threshold[here])
                    node[lane] = np.uintp(child[np.uintp(2) * here + above])
                    # No branch for leaves: a leaf leads to itself until all lanes have arrived.
                    moving |= node[lane] != here
            for lane in range(min(_LANES, count - begin)):
                pixel = pixels[begin + lane]
                leaf_row = row[node[lane]]
                for index in range(classes):
                    sums[pixel, index] += shares[leaf_row, index]
