"""Objects counted slice by slice: in each slice, and over the stack of the slices."""

from __future__ import annotations

import cc3d
import numpy as np

from fibseg.scores.instances.contingency import EMPTY_CONTINGENCY, Ids, contingency
from fibseg.scores.instances.matching import MatchCounts, count_matches


class ObjectCounter:
    """Counts the objects of one class over consecutive slices; memory holds the table of ids.

    In the stack an object is what has one id, wherever it lies. In a slice, parts of an id that
    are not connected (8 neighbours) are objects of their own: the slice does not show that they are
    one.
    """

    def __init__(self) -> None:
        """Start without a slice."""
        self.in_slices: list[MatchCounts] = []
        self._table = EMPTY_CONTINGENCY

    def add(self, truth: Ids, prediction: Ids) -> None:
        """Count a slice: ids (H, W) in the stack, 0 for no object, negative where unknown."""
        unknown = (truth < 0) | (prediction < 0)
        # 0 on both sides: such pixels are in no object and in no entropy.
        truth = np.where(unknown, 0, truth).astype(np.uint64)
        prediction = np.where(unknown, 0, prediction).astype(np.uint64)
        self._table += contingency(truth, prediction)
        parts = contingency(parts_of_ids(truth), parts_of_ids(prediction))
        self.in_slices.append(count_matches(parts))

    @property
    def in_stack(self) -> MatchCounts:
        """Counts of the objects in 3-D over all slices so far."""
        return count_matches(self._table)


def parts_of_ids(ids: Ids) -> Ids:
    """Number the 8-connected parts of equal id in a slice (H, W) from 1; 0 stays 0."""
    # cc3d counts in as few bits as the number of pixels asks for, whatever the ids have.
    parts: Ids = cc3d.connected_components(np.ascontiguousarray(ids), connectivity=8)
    return parts
