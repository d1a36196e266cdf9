"""A stack written as OME-Zarr with a pyramid of resolutions, in version 0.4 or 0.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.arrays import Pixels
from fibseg.files import remove
from fibseg.stack.base import StackHeader
from fibseg.stack.output.ome import (
    ZARR_FORMATS,
    label_metadata,
    picture_metadata,
)
from fibseg.stack.output.shards import ShardedSlices, create_kept, create_shards
from fibseg.stack.output.slices import StoreSlices, create_slices


class ZarrOutput:
    """The resolutions of a stack, written slice by slice; see `StackWriter`.

    A coarser resolution keeps every second pixel: a mean of two labels would be a third one.
    """

    def __init__(self, path: Path, header: StackHeader, name: str):
        """Create the store at `path`; `name` is the picture's name in its metadata."""
        create_store(path, header, name)
        write_store_notes(path, header)
        self._slices = store_slices(path, header)

    def write(self, z: int, pixels: Pixels) -> None:
        """Write slice z, (H, W), to each resolution that has it."""
        self._slices.write(z, pixels)
        # Slices come in order, so that the last one completes what is stored together.
        if z == self._slices.slab(z)[-1]:
            self._slices.pack(z)

    def close(self) -> None:
        """Each file of the store is closed already; what a shard was made of is removed."""
        self._slices.finish()


def create_store(path: Path, header: StackHeader, name: str) -> None:
    """Create a store at `path` in which every slice is missing, and which has no notes.

    Args:
        path: of the store.
        header: of the stack; its version of OME-Zarr is that of the store.
        name: of the picture.
    """
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=ZARR_FORMATS[header.ome_zarr])
    if header.ome_zarr == "0.4":
        create_slices(group, header)
        group.attrs.update(picture_metadata(header, name))
    else:
        create_shards(group, header)
        group.attrs["ome"] = {"version": header.ome_zarr} | picture_metadata(header, name)
        reopen_store(path, header)


def reopen_store(path: Path, header: StackHeader) -> None:
    """Prepare a store, which may be finished, for slices that are written again.

    No other process may be at work in it.
    """
    if header.ome_zarr != "0.4":
        create_kept(path, header)


def write_store_notes(path: Path, header: StackHeader) -> None:
    """Write the notes of a header into its store, which complete it.

    No other process may be at work in it.
    """
    import zarr

    # Of a process that was killed while zarr wrote a file of the group.
    for partial in path.glob("*.partial"):
        remove(partial)
    notes = header.notes or {}
    group: Any = zarr.open_group(path, mode="r+", zarr_format=ZARR_FORMATS[header.ome_zarr])
    if notes:
        group.attrs["fibseg"] = notes
    labels = label_metadata(notes, header.ome_zarr)
    if labels is None:
        return
    if header.ome_zarr == "0.4":
        group.attrs["image-label"] = labels
    else:
        group.attrs["ome"] = group.attrs["ome"] | {"image-label": labels}


SlicesOfStore = StoreSlices | ShardedSlices
"""Slices of a store of either version."""


def store_slices(path: Path, header: StackHeader) -> SlicesOfStore:
    """Open the store that `create_store` made for `header`."""
    return (StoreSlices if header.ome_zarr == "0.4" else ShardedSlices)(path, header)


def zarr_notes(path: Path) -> dict[str, Any] | None:
    """Read the notes of a store that `StackWriter` wrote; None without any."""
    import zarr

    notes = zarr.open_group(path, mode="r").attrs.get("fibseg")
    return dict(notes) if isinstance(notes, dict) else None
