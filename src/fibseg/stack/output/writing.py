"""Stacks written slice by slice, as TIFF or OME-Zarr by the ending of the name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, partial_path, remove, take_place, writing
from fibseg.stack.base import StackHeader
from fibseg.stack.output.tiff import TiffOutput, tiff_notes
from fibseg.stack.output.zarr import ZarrOutput, zarr_notes

_OUTPUTS: dict[str, type[TiffOutput] | type[ZarrOutput]] = {
    ".tif": TiffOutput,
    ".tiff": TiffOutput,
    ".zarr": ZarrOutput,
}
"""File ending -> what writes the slices."""


class StackWriter:
    """Writes a stack slice by slice; it appears under its name only when it is whole.

    A context whose `write` takes (H, W) slices of the header's type, from the first to the last.
    On a full disk, a FibsegError names the stack.
    """

    def __init__(self, path: str | Path, header: StackHeader, partial: Path | None = None):
        """Nothing is written before the context is entered; `check_output` checks the name.

        `partial` is given by `replacing_together`, which then renames it and removes leftovers.
        """
        self.path = Path(path)
        self.header = header
        self._takes_name = partial is None
        # Several processes may write this name at one time; each needs its own partial file.
        self._partial = partial or partial_path(self.path, shared=True)
        self._written = 0

    def __enter__(self) -> StackWriter:
        if self._takes_name:
            clear_leftovers([self.path])
        open_output = _OUTPUTS[self.path.suffix.lower()]
        try:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._output = open_output(self._partial, self.header, self.path.stem)
        # The context is not entered then, so that nothing else would remove it.
        except BaseException:
            remove(self._partial)
            raise
        return self

    def write(self, pixels: Pixels) -> None:
        """Append one (H, W) slice."""
        size = self.header.shape[1:]
        # A ValueError, since this is a mistake of the program and not of its user.
        if pixels.shape != size or pixels.dtype != np.dtype(self.header.dtype):
            raise ValueError(
                f"slice is {pixels.shape} {pixels.dtype}, expected {size} {self.header.dtype}"
            )
        with writing(self.path):
            self._output.write(self._written, pixels)
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with writing(self.path):
                # Closed before the rename: what is still buffered belongs to the file.
                self._output.close()
                # After an error nothing takes the name, even where all slices are written.
                if kind is None:
                    self._take_name()
        # After an error a file cannot always be closed; the first error is the one to tell.
        except Exception:
            if kind is None:
                raise
        finally:
            # Nothing is left there after a success.
            if self._takes_name:
                remove(self._partial)

    def _take_name(self) -> None:
        depth = self.header.shape[0]
        if self._written != depth:
            raise ValueError(f"{self._written} slices written, expected {depth}")
        if self._takes_name:
            take_place(self._partial, self.path)


def write_stack(
    path: str | Path, slices: Pixels, voxel_size: Sequence[float] | None = None
) -> None:
    """Write (Z, H, W) pixels that are in memory; `voxel_size` is (z, y, x) in nm."""
    header = StackHeader(slices.shape, str(slices.dtype), voxel_size)
    with StackWriter(path, header) as writer:
        for pixels in slices:
            writer.write(pixels)


def check_output(path: Path, overwrite: bool, overwrite_option: str = "overwrite=true") -> None:
    """Check that a stack can be written under a name; `overwrite_option` is named in the message.

    Raises:
        FibsegError: the name is taken, its ending is unknown, or a file stands in its way.
    """
    if path.suffix.lower() not in _OUTPUTS:
        endings = ", ".join(_OUTPUTS)
        raise FibsegError(
            f"{path}: stacks are written as {endings}; give a name with such an ending."
        )
    if path.exists() and not overwrite:
        raise FibsegError(f"{path}: exists already; give another name, or {overwrite_option}.")
    blocked = next(
        (folder for folder in path.parents if folder.exists() and not folder.is_dir()), None
    )
    if blocked is not None:
        raise FibsegError(
            f"{blocked}: is a file, so nothing can be written below it; give another name."
        )
    # A file cannot take the place of a folder, nor a folder that of a file.
    if path.exists() and path.is_dir() != (path.suffix.lower() == ".zarr"):
        raise FibsegError(
            f"{path}: exists and is {'a folder' if path.is_dir() else 'a file'}; give another name."
        )


def read_notes(path: Path) -> dict[str, Any] | None:
    """Read the notes of a stack that `StackWriter` wrote; None for any other stack."""
    read = zarr_notes if path.suffix.lower() == ".zarr" else tiff_notes
    try:
        return read(path)
    # Any file can be asked, and decoders raise whatever they like on one that is none of theirs.
    except Exception:
        return None
