"""Label values of files as class indices."""

from __future__ import annotations

import numpy as np

from fibseg.arrays import IGNORE, Mask, Pixels, UInt8
from fibseg.data.description import DataDescription
from fibseg.errors import FibsegError


def to_classes(
    labels: Pixels, description: DataDescription, where: str, region: Mask | None = None
) -> UInt8:
    """Turn label values (H, W) into class indices (H, W) uint8.

    `where` names the slice in messages. Outside of `region` (H, W), if there is one, the index is
    IGNORE whatever the value is.

    Raises:
        FibsegError: a value is claimed by no class.
    """
    index_of = dict.fromkeys(description.background.labels, 0)
    for index, class_description in enumerate(description.classes.values(), 1):
        index_of[class_description.label] = index
    if description.ignore is not None:
        index_of[description.ignore] = IGNORE
    classes = np.full(labels.shape, IGNORE, np.uint8)
    # A pass per value, since a slice has few values, and a table of 32-bit labels is too long.
    for value in np.unique(labels if region is None else labels[region]).tolist():
        if value not in index_of:
            raise FibsegError(
                f"{where}: label value {value} is claimed by no class; "
                "add it to data.classes, data.background.labels or data.ignore."
            )
        classes[labels == value] = index_of[value]
    if region is not None:
        classes[~region] = IGNORE
    return classes
