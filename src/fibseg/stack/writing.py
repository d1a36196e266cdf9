"""Which writer a name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.errors import FibsegError
from fibseg.stack.tiff import TiffWriter, tiff_notes
from fibseg.stack.zarr import ZarrWriter, zarr_notes

WRITERS: dict[str, type[TiffWriter] | type[ZarrWriter]] = {
    ".tif": TiffWriter,
    ".tiff": TiffWriter,
    ".zarr": ZarrWriter,
}
"""File ending -> writer."""


def check_output(path: Path, overwrite: bool, how: str = "overwrite=true") -> None:
    """FibsegError where a stack cannot be written: the name is taken, or its ending unknown."""
    if path.suffix.lower() not in WRITERS:
        raise FibsegError(
            f"{path}: stacks are written as {', '.join(WRITERS)}; give a name with such an ending."
        )
    if path.exists() and not overwrite:
        raise FibsegError(f"{path}: exists already; give another name, or {how}.")
    blocked = next(
        (folder for folder in path.parents if folder.exists() and not folder.is_dir()), None
    )
    if blocked is not None:
        raise FibsegError(
            f"{blocked}: is a file, so nothing can be written below it; give another name."
        )
    if path.exists() and path.is_dir() != (path.suffix.lower() == ".zarr"):
        raise FibsegError(
            f"{path}: exists and is {'a folder' if path.is_dir() else 'a file'}; give another name."
        )


def stack_writer(
    path: Path,
    shape: tuple[int, int, int],
    dtype: str,
    voxel_size: list[float] | None,
    notes: dict[str, Any] | None = None,
) -> TiffWriter | ZarrWriter:
    """A context that writes (H, W) slices in order; TIFF or OME-Zarr, by the ending of the name.

    Notes are told in the file, for `read_notes`; "classes" among them, label value -> name, becomes label metadata.
    """
    return WRITERS[path.suffix.lower()](path, shape, dtype, voxel_size, notes)


def read_notes(path: Path) -> dict[str, Any] | None:
    """What `stack_writer` was told; None where a stack tells nothing."""
    reader = {".zarr": zarr_notes}.get(path.suffix.lower(), tiff_notes)
    try:
        return reader(path)
    except Exception:  # no stack of ours, whatever else it is
        return None
