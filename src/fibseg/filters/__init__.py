"""The grain filter, and the channels that a network sees of a slice.

Here: the filter of one slice, of many slices in threads with a cache on disk, of single patches;
which channels follow. Not here: grey values and annotation (`fibseg.data`).
"""

from fibseg.filters.channels import SCOPES, Channels
from fibseg.filters.grain import grain_filter
from fibseg.filters.patches import PatchFilter
from fibseg.filters.slices import filter_slices, slice_channels

__all__ = [
    "SCOPES",
    "Channels",
    "PatchFilter",
    "filter_slices",
    "grain_filter",
    "slice_channels",
]
