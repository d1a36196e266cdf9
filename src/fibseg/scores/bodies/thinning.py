"""Thinning of a 3-D mask to lines of a voxel, compiled by numba at its first use.

Voxels are taken away in the order of their distance to the surface (Pudney, Computer Vision and
Image Understanding 1998, doi:10.1006/cviu.1998.0680), so that the lines lie in the middle whatever
the sides of a voxel are. A voxel is kept where its loss would change the topology, or where it is
an end. scikit-image's thinning is not used: it erases parts that are an even number of voxels thick
(its issue 3757).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fibseg.arrays import Floats, Ints, Mask
from fibseg.compiled import compiled

_OFFSETS = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)])

_CENTRE = 13
"""Position of the voxel itself among the 27 of its neighbourhood."""


def thin_mask(mask: Mask, distance: Floats) -> Mask:
    """Thin a mask (D, H, W), which has a margin of one voxel of background.

    Args:
        mask: of the object.
        distance: of each voxel to the background.

    Returns:
        Mask of the lines: connected as the object is, with its tunnels; single voxels for balls.
    """
    places = np.flatnonzero(mask)
    # Equal distances in random order: row by row, a line two voxels thick would be eaten from one
    # end to the other. Seeded, so that the same object gives the same skeleton.
    aside = np.random.default_rng(0).random(len(places))
    order = places[np.lexsort((aside, distance.ravel()[places]))]
    kept = mask.ravel().copy()
    steps = _OFFSETS @ np.array([mask.shape[1] * mask.shape[2], mask.shape[2], 1])
    tables = _adjacency()
    while _thin_once(kept, order, steps, tables):
        order = order[kept[order]]
    return kept.reshape(mask.shape)


def _adjacency() -> tuple[Mask, Mask]:
    """Which of the 27 voxels of a neighbourhood touch: with corners, and by sides in the 18."""
    apart = np.abs(_OFFSETS[:, None] - _OFFSETS[None])
    centred = np.abs(_OFFSETS).sum(axis=1)
    # The voxel itself is in no component.
    others = np.arange(27) != _CENTRE
    touches_26 = (apart.max(axis=2) == 1) & others[:, None] & others[None]
    # Corners are left out: background that only they connect is not connected here.
    in_18 = others & (centred < 3)
    touches_6 = (apart.sum(axis=2) == 1) & in_18[:, None] & in_18[None]
    return touches_26, touches_6


@compiled
def _thin_once(kept: Any, order: Ints, steps: Ints, tables: Any) -> int:
    """Take voxels away from flat `kept`, each where it may go; gives how many went."""
    touches_26, touches_6 = tables
    gone = 0
    near = np.zeros(27, np.bool_)
    for place in order:
        count = 0
        for k in range(27):
            near[k] = kept[place + steps[k]]
            if k != 13 and near[k]:
                count += 1
        # A single voxel, or an end.
        if count < 2:
            continue
        if _components(near, True, touches_26, False) != 1:
            continue
        if _components(near, False, touches_6, True) != 1:
            continue
        kept[place] = False
        gone += 1
    return gone


@compiled
def _components(near: Any, value: bool, touches: Any, by_side: bool) -> int:
    """Count components of equal value around a voxel; with `by_side` those at one of its sides.

    A voxel may go where object (26) and background (6) around it have one component each (Bertrand
    and Malandain, Pattern Recognition Letters 1994, doi:10.1016/0167-8655(94)90046-9).
    """
    visited = np.zeros(27, np.bool_)
    waiting = np.zeros(27, np.int64)
    components = 0
    for first in range(27):
        if first == 13 or visited[first] or near[first] != value:
            continue
        if by_side and first not in (4, 10, 12, 14, 16, 22):
            continue
        components += 1
        visited[first] = True
        waiting[0] = first
        size = 1
        while size > 0:
            size -= 1
            here = waiting[size]
            for other in range(27):
                if touches[here, other] and near[other] == value and not visited[other]:
                    visited[other] = True
                    waiting[size] = other
                    size += 1
    return components
