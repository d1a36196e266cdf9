"""A stack written as one multi-page TIFF, with the voxel size where ImageJ looks for it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from fibseg.arrays import Pixels
from fibseg.stack.base import StackHeader

_NOTES_PREFIX = "fibseg="
"""Begins the line of a TIFF description that holds notes as JSON."""

_BIGTIFF_BYTES = 3.5e9
"""Pixels from which BigTIFF is written: a TIFF ends at 4 GB, and zlib can make noise larger."""


PAGE_OPTIONS: dict[str, Any] = {"compression": "zlib", "contiguous": False, "metadata": None}
"""How tifffile writes each page."""


class TiffOutput:
    """The pages of a stack, compressed and written one by one; see `StackWriter`."""

    def __init__(self, path: Path, header: StackHeader, name: str):
        """Create the file at `path`. A TIFF has no field for its `name`."""
        size = int(np.prod(header.shape)) * np.dtype(header.dtype).itemsize
        self._file = tifffile.TiffWriter(path, bigtiff=size > _BIGTIFF_BYTES)
        self._header = header

    def write(self, z: int, pixels: Pixels) -> None:
        """Append slice z, (H, W)."""
        self._file.write(pixels, **self._options(z))

    def copy(self, z: int, page: tifffile.TiffPage) -> None:
        """Append slice z from a page that was written with PAGE_OPTIONS: its strips as they are.

        Raises:
            zlib.error: a strip is damaged.
        """
        file = page.parent.filehandle
        strips = []
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(offset)
            strip = file.read(length)
            # For its checksum: unpacking takes a fraction of the time of packing.
            zlib.decompress(strip)
            strips.append(strip)
        self._file.write(
            iter(strips),
            shape=page.shape,
            dtype=page.dtype,
            rowsperstrip=page.rowsperstrip,
            **self._options(z),
        )

    def _options(self, z: int) -> dict[str, Any]:
        """How tifffile writes slice z."""
        options = PAGE_OPTIONS.copy()
        if self._header.voxel_size is not None:
            _, y, x = self._header.voxel_size
            # Pixels per unit, x first.
            options["resolution"] = (1 / x, 1 / y)
            # The tag knows inch and centimetre only; the description says nm.
            options["resolutionunit"] = "NONE"
        description = self._description()
        # Readers take the description of the first page for the whole file.
        if z == 0 and description:
            options["description"] = description
        return options

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._file.close()

    def _description(self) -> str:
        """Compose ImageJ's lines of the first page, and the notes."""
        notes = self._header.notes
        line = f"{_NOTES_PREFIX}{json.dumps(notes)}\n" if notes else ""
        if self._header.voxel_size is None:
            return line
        depth = self._header.shape[0]
        spacing = self._header.voxel_size[0]
        # Readers recognise ImageJ's files by the first line.
        imagej = f"ImageJ=1.54f\nimages={depth}\nslices={depth}\nspacing={spacing}\nunit=nm\n"
        return imagej + line


def tiff_notes(path: Path) -> dict[str, Any] | None:
    """Read the notes of a TIFF that `StackWriter` wrote; None without any."""
    with tifffile.TiffFile(path) as file:
        lines = file.pages.first.description.splitlines()
    notes = [line for line in lines if line.startswith(_NOTES_PREFIX)]
    return dict(json.loads(notes[0].removeprefix(_NOTES_PREFIX))) if notes else None
