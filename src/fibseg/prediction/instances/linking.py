"""Objects of slices linked along z to objects of a stack, two slices in memory at a time.

Which objects of two neighbouring slices are one depends on these two slices alone. So the result is
the same for a stack of any depth, and what is kept beside two slices is one number for each object
of a slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import Ints, Pixels
from fibseg.models.objects import ObjectRules
from fibseg.scores.instances import contingency
from fibseg.scores.pieces import numbers_of_objects
from fibseg.scores.slabs import Numbers


@dataclass(frozen=True)
class Links:
    """Which objects of slices are one object.

    Attributes:
        bases: (Z,) provisional number before the first object of each slice.
        numbers: (N + 1,) provisional number -> number of the object, from 1 in the order of first
            voxels; 0 where the object is left out.
    """

    bases: Ints
    numbers: Ints

    @property
    def count(self) -> int:
        """How many objects there are."""
        return int(self.numbers.max(initial=0))

    def numbered(self, z: int, objects: Numbers) -> Numbers:
        """Give the objects (H, W) of slice z the numbers that they have in the stack."""
        base = int(self.bases[z])
        table = self.numbers[base : base + int(objects.max(initial=0)) + 1].astype(np.uint32)
        # Entry 0 belongs to the last object of the slice before; here it stands for none.
        table[0] = 0
        return table[objects]


def linked_slices(slices: Iterable[tuple[Pixels, Numbers]], rules: ObjectRules) -> Links:
    """Link the objects of neighbouring slices.

    With a head two objects of a class are one where they overlap by `rules.overlap` at least, as
    intersection over union; without one, where they touch (26-connected). Objects of fewer voxels
    than `rules.smallest` are left out then.

    Args:
        slices: class indices or label values (H, W), and objects (H, W) numbered from 1 without
            gaps, slice after slice.
        rules: how objects are made.
    """
    bases = []
    areas = [np.zeros(1, np.int64)]
    edges = [np.zeros((2, 0), np.int64)]
    base = 0
    above: tuple[Pixels, Numbers] | None = None
    above_base = 0
    for labels, objects in slices:
        if above is not None:
            if rules.head == "none":
                pairs = _touching(*above, labels, objects)
            else:
                pairs = _overlapping(*above, labels, objects, least=rules.overlap)
            edges.append(pairs + np.array([[above_base], [base]]))
        bases.append(base)
        areas.append(np.bincount(objects.ravel())[1:])
        above = labels, objects
        above_base = base
        base += int(objects.max(initial=0))
    pairs = np.concatenate(edges, axis=1)
    numbers = numbers_of_objects(pairs, base)
    voxels = np.bincount(numbers, weights=np.concatenate(areas))
    kept = voxels >= rules.smallest
    kept[0] = False
    return Links(np.array(bases, np.int64), np.where(kept, np.cumsum(kept), 0)[numbers])


def _pairs(upper: Numbers, lower: Numbers, alike: Pixels) -> tuple[Ints, Ints]:
    """Find the pairs (2, M) of objects that share pixels of one class, and how many (M,)."""
    table = contingency(np.where(alike, upper, 0), lower)
    both = (table.truth > 0) & (table.prediction > 0)
    pairs = np.stack([table.truth[both], table.prediction[both]]).astype(np.int64)
    return pairs, table.pixels[both]


def _overlapping(
    upper_labels: Pixels, upper: Numbers, lower_labels: Pixels, lower: Numbers, least: float
) -> Ints:
    """Find the pairs (2, M) whose intersection over union is `least` or more."""
    pairs, shared = _pairs(upper, lower, upper_labels == lower_labels)
    areas = np.bincount(upper.ravel())[pairs[0]] + np.bincount(lower.ravel())[pairs[1]]
    # Multiplied, since a division would round.
    return pairs[:, shared >= least * (areas - shared)]


def _touching(upper_labels: Pixels, upper: Numbers, lower_labels: Pixels, lower: Numbers) -> Ints:
    """Find the pairs (2, M) that share a place, or lie beside each other in the two slices."""
    height, width = upper.shape
    pairs = []
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            # The lower slice shifted by (row, column) against the upper one, cut to their overlap.
            here = np.s_[
                max(0, row) : height + min(0, row), max(0, column) : width + min(0, column)
            ]
            there = np.s_[
                max(0, -row) : height + min(0, -row), max(0, -column) : width + min(0, -column)
            ]
            alike = upper_labels[here] == lower_labels[there]
            pairs.append(_pairs(upper[here], lower[there], alike)[0])
    return np.unique(np.concatenate(pairs, axis=1), axis=1)
