"""Labels, reviewed mask and proposals of a project, as Zarr of which only touched chunks exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fibseg.arrays import Mask, UInt8
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
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]):
        """Open the layers of a folder; those that are missing are made, and take no room."""
        self._labels = _array(folder / LABEL_STORE, shape)
        self._reviewed = _array(folder / REVIEWED_STORE, shape)
        self._proposed = _array(folder / PROPOSED_STORE, shape)
        self.shape = shape

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


def _array(path: Path, shape: tuple[int, int, int]) -> zarr.Array[Any]:
    if (path / "zarr.json").exists():
        return zarr.open_array(path, mode="r+")
    return zarr.create_array(
        path,
        shape=shape,
        dtype="uint8",
        chunks=(1, min(_CHUNK, shape[1]), min(_CHUNK, shape[2])),
        fill_value=0,
        attributes={MEANS_ZERO: True},
        dimension_names=("z", "y", "x"),
    )
