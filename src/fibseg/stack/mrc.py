"""MRC, as microscopes and IMOD write it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack.base import Slice, Stack, damage_named, voxel_size

IMOD_STAMP = 1146047817
"""In bytes 152 to 155 of the header; then bit 0 of the next four says whether mode 0 is signed."""


def open_mrc(path: Path) -> Stack:
    """A volume of (z, y, x), or one slice; IMOD's unsigned bytes too. Sizes come in Angstrom."""
    import mrcfile

    with damage_named(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.mmap(path, mode="r") as file:
            shape, dtype, size = file.data.shape, file.data.dtype, file.voxel_size
            sizes = [float(size[axis]) / 10 for axis in "zyx"]
        stamp, flags = np.frombuffer(path.read_bytes()[152:160], "<i4") if path.stat().st_size > 160 else (0, 0)
    if len(shape) not in (2, 3):
        raise FibsegError(f"{path}: data of shape {shape}; expected a stack of (z, y, x).")
    unsigned = dtype == np.int8 and stamp == IMOD_STAMP and not flags & 1
    depth, height, width = shape if len(shape) == 3 else (1, *shape)

    def read(z: int) -> Slice:
        with damage_named(path, z), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mrcfile.mmap(path, mode="r") as file:
                plane = np.array(file.data[z] if len(shape) == 3 else file.data)
        native = plane.astype(plane.dtype.newbyteorder("="))
        return native.view(np.uint8) if unsigned else native

    kind = np.dtype(np.uint8) if unsigned else dtype.newbyteorder("=")
    return Stack(str(path), (depth, height, width), kind, read, voxel_size(sizes, ["nm"] * 3))
