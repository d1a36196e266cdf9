"""Connected components of truth and prediction, slice by slice, and how much of each the other side has.

Meyer et al., ISBI 2021, section 3.4: a component of the truth is detected (TP) if more than .80 of its pixels are
predicted as its class, missed (FN) below .10, else under-detected (UD). Components are 2-D and 8-connected, unless a
volume is given: then they are 3-D and 26-connected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibseg.arrays import IGNORE


@dataclass(frozen=True)
class Bins:
    """Which components are counted, and how they are sorted by the share that the other side has.

    Attributes:
        high: a component of the truth with a share above this is detected.
        low: one with a share below this is missed; a predicted one is false.
        smallest: components of fewer pixels (voxels in 3-D) are left out, on both sides.
    """

    high: float
    low: float
    smallest: int


PAPER_BINS = Bins(high=0.80, low=0.10, smallest=1)
"""The shares of Meyer et al., ISBI 2021, section 3.4; every component counts."""


class Component(TypedDict):
    """One component; areas in pixels, centroid in pixels from the slice's top left corner.

    `of` is "truth" or "prediction"; `overlap` counts its pixels that the other side has in the same class, `touched`
    the components of that class on the other side that it meets.
    """

    class_index: int
    of: str
    area: int
    row: float
    column: float
    overlap: int
    touched: int


def find_components(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> list[Component]:
    """Components of every foreground class of both sides of one slice (H, W), or of a volume (Z, H, W).

    What one side ignores belongs to none.
    """
    known = (truth != IGNORE) & (prediction != IGNORE)
    found: list[Component] = []
    for index in range(1, classes):
        sides = {
            "truth": _label(known & (truth == index)),
            "prediction": _label(known & (prediction == index)),
        }
        both = (sides["truth"] > 0) & (sides["prediction"] > 0)
        pairs = np.unique(
            np.stack([side[both] for side in sides.values()]), axis=1
        )  # (2, number of meetings)
        for row, (name, components) in enumerate(sides.items()):
            found += _measure(components, index, name, both, pairs[row])
    return found


def _label(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    components: NDArray[np.int32] = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))[0]
    return components


def _measure(
    components: NDArray[np.int32],
    index: int,
    of: str,
    both: NDArray[np.bool_],
    meetings: NDArray[np.int32],
) -> list[Component]:
    places = np.nonzero(components)
    member, (rows, columns) = components[places], places[-2:]
    area = np.bincount(member)
    overlap = np.bincount(components[both], minlength=len(area))
    touched = np.bincount(meetings, minlength=len(area))
    row = np.bincount(member, rows) / np.maximum(area, 1)
    column = np.bincount(member, columns) / np.maximum(area, 1)
    return [
        Component(
            class_index=index,
            of=of,
            area=int(area[i]),
            row=round(float(row[i]), 2),
            column=round(float(column[i]), 2),
            overlap=int(overlap[i]),
            touched=int(touched[i]),
        )
        for i in range(1, len(area))
    ]


class Detection(TypedDict):
    """Counts of components: truth detected, missed, under-detected; predictions that hit almost nothing."""

    tp: int
    fn: int
    ud: int
    fp: int


def count_detections(
    components: Sequence[Component], class_index: int, bins: Bins = PAPER_BINS
) -> Detection:
    """Count the components of one class as Table 2 of the paper does, and its false positives.

    A predicted component is a false positive if its share in the truth is below `bins.low`. The components may be of
    any number of slices.
    """
    counted = [
        component
        for component in components
        if component["class_index"] == class_index and component["area"] >= bins.smallest
    ]
    truth = _shares(counted, "truth")
    predicted = _shares(counted, "prediction")
    tp = int((truth > bins.high).sum())
    fn = int((truth < bins.low).sum())
    fp = int((predicted < bins.low).sum())
    return Detection(tp=tp, fn=fn, ud=len(truth) - tp - fn, fp=fp)


def _shares(components: Sequence[Component], side: str) -> NDArray[np.float64]:
    """Share of each component of one side that the other side has, in 0 to 1."""
    return np.array(
        [
            component["overlap"] / component["area"]
            for component in components
            if component["of"] == side
        ]
    )
