"""Connected components of truth and prediction, and the share of each that the other side has.

Meyer et al., ISBI 2021, section 3.4: a component of the truth is detected (TP) if more than .80 of
its pixels are predicted as its class, missed (FN) below .10, else under-detected (UD). Components
are 2-D and 8-connected, unless a volume is given: then they are 3-D and 26-connected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE, Floats, Mask, UInt8

_Numbers = NDArray[np.int32]
"""The number of each pixel's component, from 1; 0 where there is none."""


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
    """One connected component of one side.

    Attributes:
        class_index: its class, 1 for the first foreground class.
        of: the side, "truth" or "prediction".
        area: in pixels (voxels in 3-D).
        row: of the centroid, in pixels from the slice's top left corner.
        column: of the centroid, likewise.
        overlap: how many of its pixels the other side has in the same class.
        touched: how many components of that class on the other side it meets.
    """

    class_index: int
    of: str
    area: int
    row: float
    column: float
    overlap: int
    touched: int


def find_components(truth: UInt8, prediction: UInt8, classes: int) -> list[Component]:
    """Find the components of every foreground class on both sides.

    `truth` and `prediction` are class indices of one slice (H, W) or of a volume (Z, H, W); pixels
    that are IGNORE on either side belong to no component. `classes` counts the background too.
    """
    # On both sides alike: a component under pixels that the opposite side ignores is not missed.
    known = (truth != IGNORE) & (prediction != IGNORE)
    components: list[Component] = []
    for index in range(1, classes):
        sides = {
            "truth": numbered(known & (truth == index)),
            "prediction": numbered(known & (prediction == index)),
        }
        # Both sides number pixels of one class here, so that a shared pixel is a hit.
        both = (sides["truth"] > 0) & (sides["prediction"] > 0)
        # (2, M): each pair of components that share a pixel, once, however many pixels they share.
        pairs = np.unique(np.stack([side[both] for side in sides.values()]), axis=1)
        for row, (side_name, numbers) in enumerate(sides.items()):
            # Rows of `pairs` are in the order of `sides`.
            components += _measure(
                numbers=numbers, index=index, side_name=side_name, both=both, meetings=pairs[row]
            )
    return components


def numbered(mask: Mask) -> _Numbers:
    """Number the components of a mask from 1; pixels that touch by a corner are connected."""
    # Imported here: SciPy's image module takes longer to load than the rest of this package.
    from scipy import ndimage

    numbers: _Numbers = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))[0]
    return numbers


def _measure(
    numbers: _Numbers, index: int, side_name: str, both: Mask, meetings: _Numbers
) -> list[Component]:
    """Measure the numbered components of one class on one side.

    Args:
        numbers: of each pixel's component, 0 where there is none.
        index: of the class.
        side_name: "truth" or "prediction".
        both: pixels that both sides have in this class.
        meetings: (M,) this side's component of each pair of components that share a pixel.
    """
    places = np.nonzero(numbers)
    members = numbers[places]
    # The last two axes: the centroid of a 3-D component is given in the plane only.
    rows, columns = places[-2:]
    # One pass over the pixels for all components, in place of a mask for each.
    area = np.bincount(members)
    overlap = np.bincount(numbers[both], minlength=len(area))
    touched = np.bincount(meetings, minlength=len(area))
    # Number 0 has no pixel, hence the maximum.
    row = np.bincount(members, rows) / np.maximum(area, 1)
    column = np.bincount(members, columns) / np.maximum(area, 1)
    return [
        Component(
            class_index=index,
            of=side_name,
            area=int(area[i]),
            # Rounded here, so that components.csv reads back to equal values.
            row=round(float(row[i]), 2),
            column=round(float(column[i]), 2),
            overlap=int(overlap[i]),
            touched=int(touched[i]),
        )
        for i in range(1, len(area))
    ]


class Detection(TypedDict):
    """Counts of components of one class, as in Table 2 of the paper.

    Attributes:
        tp: components of the truth that are detected.
        fn: components of the truth that are missed.
        ud: components of the truth between the two, under-detected.
        fp: predicted components that the truth has next to nothing of.
    """

    tp: int
    fn: int
    ud: int
    fp: int


def count_detections(
    components: Sequence[Component], class_index: int, bins: Bins = PAPER_BINS
) -> Detection:
    """Count the components of one class as Table 2 of the paper does, and its false positives.

    A predicted component is a false positive if its share in the truth is below `bins.low`. The
    components may be of any number of slices.
    """
    counted = [
        component
        for component in components
        if component["class_index"] == class_index and component["area"] >= bins.smallest
    ]
    truth = _shares(counted, "truth")
    predicted = _shares(counted, "prediction")
    # A share of exactly `high` or `low` is between the two.
    tp = int((truth > bins.high).sum())
    fn = int((truth < bins.low).sum())
    fp = int((predicted < bins.low).sum())
    # Every component of the truth is one of three: what is neither detected nor missed is
    # under-detected.
    return Detection(tp=tp, fn=fn, ud=len(truth) - tp - fn, fp=fp)


def _shares(components: Sequence[Component], side_name: str) -> Floats:
    """Compute the share of each component of one side that the other side has, 0 to 1."""
    return np.array(
        [
            component["overlap"] / component["area"]
            for component in components
            if component["of"] == side_name
        ]
    )
