"""The files that a prediction writes, and what is noted of each finished slice of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.models.objects import ObjectRules
from fibseg.stack import Stack, StackHeader, open_channels, open_stack


@dataclass(frozen=True)
class Output:
    """A stack that a prediction writes.

    Attributes:
        path: of the TIFF or Zarr store.
        dtype: NumPy's name for the type of its pixels.
        notes: facts that are written into it beside the pixels.
        rules: by which the objects of its slices are linked along z; None where it holds none.
        channels: names of the layers that it holds, as one picture; empty where it holds one.
        ome_zarr: the version of OME-Zarr, where it is one.
    """

    path: Path
    dtype: str
    notes: dict[str, Any]
    rules: ObjectRules | None = None
    channels: tuple[str, ...] = ()
    ome_zarr: str = "0.4"


@dataclass(frozen=True)
class KeptSlice:
    """What the file of a finished slice says beside its pixels.

    Attributes:
        outside: share of its pixels outside the grey range of the training.
        digest: of the pixels of the image.
        zeroed: whether the slice could not be read, so that its labels are 0.
    """

    outside: float
    digest: str
    zeroed: bool


@dataclass(frozen=True)
class Extent:
    """What all outputs of a prediction share.

    Attributes:
        shape: (Z, H, W).
        voxel_size: (z, y, x) in nm; None where it is unknown.
    """

    shape: tuple[int, int, int]
    voxel_size: list[float] | None

    def header(self, output: Output, facts: Mapping[str, Any] | None = None) -> StackHeader:
        """The header of an output, with `facts` on its slices beside its notes."""
        return StackHeader(
            shape=self.shape,
            dtype=output.dtype,
            voxel_size=self.voxel_size,
            notes=output.notes | dict(facts or {}),
            channels=output.channels,
            ome_zarr=output.ome_zarr,
        )


def started_folder(output: Path) -> Path:
    """Where the slices of an output are kept until it is finished."""
    return output.with_name(f".{output.name}.started")


def finished_count(output: Path) -> int:
    """Count the slices of a prediction that are finished and kept until its outputs are."""
    return len(slice_files(started_folder(output)))


def slice_files(folder: Path) -> list[Path]:
    """List the files that say that a slice is finished, in the order of the slices."""
    return sorted(folder.glob("[0-9]*"))


def in_files(output: Output) -> bool:
    """Whether the slices of an output are kept in files of their own until all of them are there.

    Those of a TIFF lie one behind the other, and objects have no numbers before. Slices of a Zarr
    store are written where they belong.
    """
    return output.path.suffix.lower() != ".zarr" or output.rules is not None


def mark_of(path: Path) -> tuple[int, int] | None:
    """Two numbers that change with each file or folder that takes a name; None without any."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_ctime_ns


def zero_pixels(shape: tuple[int, int, int], outputs: Sequence[Output]) -> list[Pixels]:
    """Zeros (H, W) for a slice in each layer, where it cannot be read; `shape` is (Z, H, W)."""
    return [np.zeros(shape[1:], output.dtype) for output in outputs for _ in output.channels or [0]]


def by_output(outputs: Sequence[Output], layers: Sequence[Pixels]) -> list[Pixels]:
    """Divide layers of a slice, (H, W) each, over outputs: (H, W) or (C, H, W) for each of them."""
    rest = iter(layers)
    pixels = [
        np.stack([next(rest) for _ in output.channels]) if output.channels else next(rest)
        for output in outputs
    ]
    # A ValueError, since this is a mistake of the program and not of its user.
    if list(rest):
        raise ValueError("more layers than the outputs hold")
    return pixels


def open_layers(outputs: Sequence[Output]) -> list[Stack]:
    """Open the layers of finished outputs, one for each channel, to be read side by side.

    Raises:
        FibsegError: one cannot be read.
    """
    readers = sum(len(output.channels) or 1 for output in outputs)
    layers: list[Stack] = []
    for output in outputs:
        is_zarr = output.path.suffix.lower() == ".zarr"
        layers += open_channels(output.path, readers) if is_zarr else [open_stack(output.path)]
    return layers
