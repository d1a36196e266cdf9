"""Pages of a TIFF that need not have one size: the slices of several volumes in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tifffile

from fibseg.arrays import UInt8
from fibseg.files import replacing
from fibseg.stack.base import StackHeader
from fibseg.stack.output.tiff import TiffOutput


def write_pages(
    path: Path, pages: Sequence[UInt8], voxel_size: Sequence[float] | None = None
) -> None:
    """Write slices (H, W) of any sizes as the pages of one compressed TIFF, whole or not at all.

    Args:
        path: of the file.
        pages: the slices.
        voxel_size: (z, y, x) in nm, which is written where all pages have one size: others are no
            stack, and a reader would look for one.
    """
    sizes = {page.shape for page in pages}
    known = voxel_size if len(sizes) == 1 else None
    shape = (len(pages), *pages[0].shape)
    with replacing(path, durable=True) as partial:
        output = TiffOutput(partial, StackHeader(shape, "uint8", known), path.stem)
        try:
            for z, page in enumerate(pages):
                output.write(z, page)
        finally:
            output.close()


def read_pages(path: Path, which: Sequence[int] | None = None) -> list[UInt8]:
    """Read the pages (H, W) that `write_pages` wrote: all of them, or those at some positions."""
    with tifffile.TiffFile(path) as file:
        positions = range(len(file.pages)) if which is None else which
        return [file.pages[position].asarray() for position in positions]


def count_pages(path: Path) -> int:
    """Count the pages of a TIFF."""
    with tifffile.TiffFile(path) as file:
        return len(file.pages)
