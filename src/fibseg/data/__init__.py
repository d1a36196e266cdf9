"""Annotated slices: what a data description says, and what becomes of it on the way to a batch.

Here: descriptions, slices with their labels, grey values, patches, checks and imports of labels.
Not here: reading files (`fibseg.stack`), the grain filter (`fibseg.filters`), networks
(`fibseg.models`).
"""

# Neither torch (`module`, `sampling`) nor scipy.ndimage (`inspection`, `survey`): schemas of the
# configuration import this package, and `--help` has to answer at once.
from fibseg.data.description import (
    SPLITS,
    DataDescription,
    IntensityDescription,
    class_names,
    class_weights,
    label_values,
)
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import data_hash, load_slices
from fibseg.data.splits import parse_slices
from fibseg.data.volume import AnnotatedSlice

__all__ = [
    "SPLITS",
    "AnnotatedSlice",
    "DataDescription",
    "GreyRange",
    "IntensityDescription",
    "class_names",
    "class_weights",
    "data_hash",
    "grey_range",
    "label_values",
    "load_slices",
    "parse_slices",
    "to_8bit",
]
