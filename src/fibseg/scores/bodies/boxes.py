"""Masks of single objects, each in its bounding box, from a stack that is read once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Mask, UInt8
from fibseg.scores.bodies.numbered import NumberedObjects

LARGEST_BOX = 2**25
"""Voxels of the largest box whose mask is made: about 4 GB in a skeleton of flat voxels."""


@dataclass(frozen=True)
class ObjectMask:
    """One object.

    Attributes:
        number: of the object.
        low: first voxel of the box along z, y, x.
        mask: (D, H, W) of the box.
    """

    number: int
    low: tuple[int, int, int]
    mask: Mask


def object_masks(objects: NumberedObjects, largest: int = LARGEST_BOX) -> Iterator[ObjectMask]:
    """Give the mask of each object once its last slice is read.

    Memory holds a bit for each voxel of the boxes that a slice meets. Objects whose box has more
    than `largest` voxels are passed over.
    """
    low = objects.measures.low
    # The slice after the last one.
    stop = objects.measures.high + 1
    fits = np.prod(stop - low, axis=1) <= largest
    starts: dict[int, list[int]] = {}
    for k in np.flatnonzero(fits).tolist():
        starts.setdefault(int(low[k, 0]), []).append(k)
    open_boxes: dict[int, list[UInt8]] = {}
    for z in range(objects.shape[0]):
        open_boxes |= {k: [] for k in starts.get(z, [])}
        if not open_boxes:
            continue
        numbers = objects.read(z)
        for k in list(open_boxes):
            _, top, left = low[k].tolist()
            last, bottom, right = stop[k].tolist()
            open_boxes[k].append(np.packbits(numbers[top:bottom, left:right] == k + 1))
            if z + 1 == last:
                side = (bottom - top, right - left)
                pages = [
                    np.unpackbits(page, count=side[0] * side[1]).reshape(side).astype(bool)
                    for page in open_boxes.pop(k)
                ]
                place = low[k].tolist()
                yield ObjectMask(k + 1, (place[0], place[1], place[2]), np.stack(pages))
