"""Pages of a TIFF that need not have one size: the slices of several volumes in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tifffile

from fibseg.arrays import UInt8
from fibseg.files import replacing


def write_pages(path: Path, pages: Sequence[UInt8]) -> None:
    """Write slices (H, W) of any sizes as the pages of one compressed TIFF, whole or not at all."""
    with replacing(path, durable=True) as partial, tifffile.TiffWriter(partial) as file:
        # No metadata: tifffile's description states one shape for all pages of a series.
        for page in pages:
            file.write(page, compression="zlib", contiguous=False, metadata=None)


def read_pages(path: Path, which: Sequence[int] | None = None) -> list[UInt8]:
    """Read the pages (H, W) that `write_pages` wrote: all of them, or those at some positions."""
    with tifffile.TiffFile(path) as file:
        positions = range(len(file.pages)) if which is None else which
        return [file.pages[position].asarray() for position in positions]


def count_pages(path: Path) -> int:
    """Count the pages of a TIFF."""
    with tifffile.TiffFile(path) as file:
        return len(file.pages)
