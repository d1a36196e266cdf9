"""Read and write image stacks of (Z, H, W), slice by slice.

A reader is a function `path -> Stack`: a shape, a dtype and a function that reads one slice. A new format is one more
module with such a function and a line in `opening.READERS`. Libraries of a format are imported when a file needs them.
"""

from fibseg.stack.base import Slice, Stack, part_of
from fibseg.stack.opening import READERS, located, open_stack
from fibseg.stack.tiff import TiffWriter, count_pages, read_pages, write_pages, write_stack
from fibseg.stack.writing import check_output, read_notes, stack_writer
from fibseg.stack.zarr import ZarrWriter

__all__ = [
    "READERS",
    "Slice",
    "Stack",
    "TiffWriter",
    "ZarrWriter",
    "check_output",
    "count_pages",
    "located",
    "open_stack",
    "part_of",
    "read_notes",
    "read_pages",
    "stack_writer",
    "write_pages",
    "write_stack",
]
