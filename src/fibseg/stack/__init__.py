"""Image stacks of (Z, H, W) in files, read and written slice by slice.

Here: one module per format, the path that leads to it, the writer. A new format is one more module
with a function `path -> Stack` and a line in `opening.STACK_READERS`; its library is imported when
a file needs it. Not here: what pixels mean (`fibseg.data`), pictures for people (`fibseg.pages`).
"""

from fibseg.stack.base import (
    Stack,
    StackHeader,
    check_depth,
    part_of,
    read_finite,
    read_neighbours,
    turned_apart,
)
from fibseg.stack.chunked import MEANS_ZERO
from fibseg.stack.failures import damage_named
from fibseg.stack.opening import located, open_colours, open_stack, split_dataset
from fibseg.stack.output.pages import count_pages, read_pages, write_pages
from fibseg.stack.output.writing import StackWriter, check_output, read_notes, write_stack
from fibseg.stack.units import VoxelSize, voxel_size_in_nm
from fibseg.stack.zarr import open_channels, picture_attributes, picture_folder

__all__ = [
    "MEANS_ZERO",
    "Stack",
    "StackHeader",
    "StackWriter",
    "VoxelSize",
    "check_depth",
    "check_output",
    "count_pages",
    "damage_named",
    "located",
    "open_channels",
    "open_colours",
    "open_stack",
    "part_of",
    "picture_attributes",
    "picture_folder",
    "read_finite",
    "read_neighbours",
    "read_notes",
    "read_pages",
    "split_dataset",
    "turned_apart",
    "voxel_size_in_nm",
    "write_pages",
    "write_stack",
]
