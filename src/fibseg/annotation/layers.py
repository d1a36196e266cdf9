"""Labels, reviewed mask and proposals of a project, as Zarr of which only touched chunks exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fibseg.arrays import Mask, UInt8
from fibseg.files import remove
from fibseg.stack import MEANS_ZERO

_CHUNK = 256
"""Side of a chunk in pixels; a chunk is of one slice."""

LABEL_STORE = "labels.zarr"
REVIEWED_STORE = "reviewed.zarr"
PROPOSED_STORE = "proposed.zarr"


class Layers:
    """Pixels (Z, H, W) uint8 that a person or a model has given to an image.

    Labels are class indices, 0 where nothing is painted and IGNORE where the person is unsure; the
    reviewed mask is 1 where the person has looked.

    Attributes:
        shape: (Z, H, W).
        is_new: whether labels or reviewed mask were missing or damaged, and are empty now.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]):
        """Open the layers of a folder; those that are missing are made, and take no room."""
        stores = [folder / name for name in (LABEL_STORE, REVIEWED_STORE, PROPOSED_STORE)]
        self.is_new = not all(map(_is_whole, stores[:2]))
        self._labels, self._reviewed, self._proposed = (_array(path, shape) for path in stores)
        self.shape = shape
        self._chunks = stores[1] / "c"

    def touched(self) -> list[int]:
        """List the slices in which something was ever reviewed."""
        return sorted(int(path.name) for path in self._chunks.glob("*") if path.name.isdecimal())

    def box(self, z: int, rows: slice, columns: slice) -> UInt8:
        """Read labels and reviewed mask (2, h, w) of a box."""
        layers = (self._labels, self._reviewed)
        return np.stack([np.asarray(layer[z, rows, columns], np.uint8) for layer in layers])

    def write(self, place: tuple[int, int, int], pixels: UInt8) -> None:
        """Write labels and reviewed mask (2, h, w) of a box at (z, y, x)."""
        z, y, x = place
        height, width = pixels.shape[1:]
        box = (z, slice(y, y + height), slice(x, x + width))
        self._labels[box] = pixels[0]
        self._reviewed[box] = pixels[1]

    def labels(self, z: int) -> UInt8:
        """Read the labels (H, W) of a slice."""
        return np.asarray(self._labels[z], np.uint8)

    def reviewed(self, z: int) -> Mask:
        """Read where a slice (H, W) was reviewed."""
        return np.asarray(self._reviewed[z], bool)

    def proposed(self, z: int) -> UInt8 | None:
        """Read the proposal (H, W) for a slice; None where there is none."""
        proposal = np.asarray(self._proposed[z], np.uint8)
        # Shifted by one, so that background differs from a slice without a proposal.
        return proposal - 1 if proposal.all() else None

    def propose(self, z: int, labels: UInt8) -> None:
        """Keep the labels (H, W) of a model for a slice; classes 0 to 253."""
        self._proposed[z] = labels + 1


def _is_whole(path: Path) -> bool:
    """Whether there is an array; a damaged one is made anew."""
    try:
        zarr.open_array(path, mode="r")
    # What zarr raises depends on what is left of its file.
    except Exception:
        return False
    return True


def _array(path: Path, shape: tuple[int, int, int]) -> zarr.Array[Any]:
    if _is_whole(path):
        return zarr.open_array(path, mode="r+")
    remove(path)
    return zarr.create_array(
        path,
        shape=shape,
        dtype="uint8",
        chunks=(1, min(_CHUNK, shape[1]), min(_CHUNK, shape[2])),
        fill_value=0,
        attributes={MEANS_ZERO: True},
        dimension_names=("z", "y", "x"),
    )
