"""The tree of shapes of an 8-bit slice, and the slice without its small shapes, by numba.

The tree is that of Géraud, Carlinet, Crozet and Najman (2013, doi 10.1007/978-3-642-38294-9_9): a
front moves from outside into the slice, always to the nearest grey level at which pixels wait for
it. Edges and corners lie between the pixels, and have all levels between those of the pixels that
they touch, so that the front can pass between a darker and a brighter pixel. In the published
algorithm pixels, edges and corners wait alike, four for each pixel of a slice. Here only pixels do:

- The front is at a level of a corner whenever it gets there, from a pixel of the corner or along an
  edge, so that a corner never waits.
- An edge lies between two corners. It is passed with the first of them that gets one of its levels,
  or else with the first of its two pixels.

The pixels that the front reaches together, at one level, are a part. Parts are united from the last
back to the first, the outside, and each becomes a child of the earlier part that touches it. Pixels
of a shape need not touch, so that a shape may come in several parts: one is then the parent of the
next, at the same level, and a part that is removed takes the level that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints, UInt8
from fibseg.compiled import compiled

Int32 = NDArray[np.int32]

TREE_BYTES = 48
"""Bytes of memory a pixel that the tree of a slice takes, at most (16 megapixels: 0.8 GB)."""

FRAME = 2
"""Pixels around a slice on each side: the outside, and the frame."""

_NEW = -1
"""A pixel, or a corner, that the front has not come to."""

_WAITS = -2
"""A pixel that waits in the queue of its level."""

_FRAME_LEVEL = 1 << 12
"""Level of a corner of the frame, far from those of all pixels."""

_MOST_LINKS = 6
"""Links for each pixel, at most: four from its corner, and one from each of its two edges."""


class _Work(NamedTuple):
    """What the steps share: flat arrays of a slice in its frame (N pixels), and of its parts.

    Attributes:
        grey: (N,) grey levels.
        row: pixels of a row.
        part_of: (N,) the part of each pixel; parts count from 0 as the front comes to them.
        corner_level: (N,) level of the corner at the lower right of each pixel.
        levels: (N,) grey level of each part.
        areas: (N,) pixels of each part, and after `_unite` those of all within it, too.
        links: a pixel of a later part that touches a part, for part after part.
        starts: (N + 1,) the first link of each part.
        parents: (N,) parent of each part; before `_unite` the pixel that waits behind each pixel.
        roots: (N,) last known root above each part; before `_unite` pixels still to be looked at.
    """

    grey: UInt8
    row: int
    part_of: Int32
    corner_level: NDArray[np.int16]
    levels: UInt8
    areas: Int32
    links: Int32
    starts: Ints
    parents: Int32
    roots: Int32


def without_shapes(image: UInt8, outside: int, areas: Sequence[int]) -> UInt8:
    """Remove the shapes below each area from a slice (H, W), around which lies a grey level.

    The result is (len(areas), H, W). It takes up to TREE_BYTES for each pixel while it works, and
    hardly holds Python's interpreter lock, so that threads filter slices side by side.
    """
    inside = (slice(FRAME, -FRAME), slice(FRAME, -FRAME))
    grey = np.pad(image, FRAME, constant_values=outside)
    count = grey.size
    part_of = np.zeros(grey.shape, np.int32)
    part_of[1:-1, 1:-1] = _NEW
    corner_level = np.full(grey.shape, _FRAME_LEVEL, np.int16)
    corner_level[1:-2, 1:-2] = _NEW
    work = _Work(
        grey=grey.ravel(),
        row=grey.shape[1],
        part_of=part_of.ravel(),
        corner_level=corner_level.ravel(),
        levels=np.empty(count, np.uint8),
        areas=np.zeros(count, np.int32),
        links=np.empty(_MOST_LINKS * count, np.int32),
        starts=np.empty(count + 1, np.int64),
        parents=np.empty(count, np.int32),
        roots=np.empty(count, np.int32),
    )
    parts = _flood(work)
    _unite(work, parts)
    results = np.empty((len(areas), *image.shape), np.uint8)
    for area, result in zip(areas, results, strict=True):
        result[:] = _kept_levels(work, parts, area)[part_of[inside]]
    return results


@compiled
def _kept_levels(work: _Work, parts: int, least: int) -> UInt8:
    """Give each part its level if its area is at least the limit, else that of its parent."""
    kept = work.levels[:parts].copy()
    # A parent stands before its children, and the outside before all.
    for part in range(1, parts):
        if work.areas[part] < least:
            kept[part] = kept[work.parents[part]]
    return kept


@compiled
def _unite(work: _Work, parts: int) -> None:
    """Find the parent of each part by a union-find from the last one; add up areas."""
    roots = work.roots
    for part in range(parts - 1, -1, -1):
        roots[part] = part
        for link in range(work.starts[part], work.starts[part + 1]):
            other = work.part_of[work.links[link]]
            while roots[other] != other:
                roots[other] = roots[roots[other]]
                other = roots[other]
            if other != part:
                roots[other] = part
                work.parents[other] = part
                work.areas[part] += work.areas[other]


@compiled
def _flood(work: _Work) -> int:
    """Move the front through a slice; return the number of parts.

    One long loop: calls in it, inlined ones too, make numba's code 1.2 to 2 times as slow.
    """
    grey = work.grey
    row = work.row
    part_of = work.part_of
    corner_level = work.corner_level
    links = work.links
    # The queue is a list of pixels for each level: its first, and what stands behind each pixel.
    heads = np.full(256, -1, np.int32)
    behind = work.parents
    # Pixels and corners of the part at hand that are still to be looked at.
    pixels = work.roots
    corners = np.empty(grey.size, np.int32)
    level = np.int64(grey[0])
    step = 1
    heads[level] = row + 1
    behind[row + 1] = -1
    waiting = 1
    part = -1
    used = 0
    while waiting > 0:
        # Up as long as pixels wait there, and then down: fewer jumps from place to place.
        while heads[level] < 0:
            following = level + step
            while 0 <= following < 256 and heads[following] < 0:
                following += step
            if 0 <= following < 256:
                level = following
            else:
                step = -step
        pixel = heads[level]
        heads[level] = behind[pixel]
        waiting -= 1
        # It may have become a pixel of a part in the meantime.
        if part_of[pixel] >= 0:
            continue
        part += 1
        part_of[pixel] = part
        work.levels[part] = level
        work.starts[part] = used
        pixels[0] = pixel
        pixel_count = 1
        while pixel_count > 0:
            pixel_count -= 1
            pixel = pixels[pixel_count]
            work.areas[part] += 1
            corner_count = 0
            # Levels of the corners as they were before.
            above_left = corner_level[pixel - row - 1]
            above_right = corner_level[pixel - row]
            below_left = corner_level[pixel - 1]
            below_right = corner_level[pixel]
            for corner in (pixel - row - 1, pixel - row, pixel - 1, np.int64(pixel)):
                if corner_level[corner] == _NEW:
                    corner_level[corner] = level
                    corners[corner_count] = corner
                    corner_count += 1
            # Edges that no corner passes.
            for side in range(4):
                if side == 0:
                    other = pixel - row
                    one_end = above_left
                    other_end = above_right
                elif side == 1:
                    other = pixel - 1
                    one_end = above_left
                    other_end = below_left
                elif side == 2:
                    other = pixel + 1
                    one_end = above_right
                    other_end = below_right
                else:
                    other = pixel + row
                    one_end = below_left
                    other_end = below_right
                if one_end < 0 or other_end < 0 or part_of[other] >= 0:
                    continue
                beyond = np.int64(grey[other])
                if (one_end - level) * (one_end - beyond) <= 0:
                    continue
                if (other_end - level) * (other_end - beyond) <= 0:
                    continue
                if beyond == level:
                    part_of[other] = part
                    pixels[pixel_count] = other
                    pixel_count += 1
                else:
                    links[used] = other
                    used += 1
            while corner_count > 0:
                corner_count -= 1
                corner = corners[corner_count]
                a = np.int64(grey[corner]) - level
                b = np.int64(grey[corner + 1]) - level
                c = np.int64(grey[corner + row + 1]) - level
                d = np.int64(grey[corner + row]) - level
                # Pixels side by side that are all brighter than the front, or all darker, will be
                # united by the edges between them: one link is enough.
                side_before = 0
                if part_of[corner + row] < 0:
                    side_before = np.sign(d)
                for place in range(4):
                    if place == 0:
                        other = corner
                        difference = a
                    elif place == 1:
                        other = corner + 1
                        difference = b
                    elif place == 2:
                        other = corner + row + 1
                        difference = c
                    else:
                        other = corner + row
                        difference = d
                    side_here = 0
                    if part_of[other] < 0:
                        if difference == 0:
                            part_of[other] = part
                            pixels[pixel_count] = other
                            pixel_count += 1
                        else:
                            side_here = np.sign(difference)
                            if part_of[other] == _NEW:
                                part_of[other] = _WAITS
                                behind[other] = heads[level + difference]
                                heads[level + difference] = other
                                waiting += 1
                            if side_here != side_before:
                                links[used] = other
                                used += 1
                    side_before = side_here
                # Along edges that have the level of the front.
                for edge in range(4):
                    if edge == 0:
                        following = corner - row
                        product = a * b
                    elif edge == 1:
                        following = corner + row
                        product = d * c
                    elif edge == 2:
                        following = corner - 1
                        product = a * d
                    else:
                        following = corner + 1
                        product = b * c
                    if product <= 0 and corner_level[following] == _NEW:
                        corner_level[following] = level
                        corners[corner_count] = following
                        corner_count += 1
    work.starts[part + 1] = used
    return part + 1
