"""MRC, as microscopes and IMOD write it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack.base import Slice, Stack, damage_named, voxel_size

IMOD_STAMP = 1146047817
"""In bytes 152 to 155 of the header; then bit 0 of the next four says whether mode 0 is signed."""


def open_mrc(path: Path) -> Stack:
    """A volume of (z, y, x), or one slice; IMOD's unsigned bytes too. Sizes come in Angstrom."""
    with damage_named(path), _opened(path) as file:
        shape, dtype, size = file.data.shape, file.data.dtype, file.voxel_size
        sizes = [float(size[axis]) / 10 for axis in "zyx"]
        order = file.header.mode.dtype.byteorder
        with path.open("rb") as raw:
            raw.seek(152)
            stamp, flags = np.frombuffer(raw.read(8), np.dtype("i4").newbyteorder(order))
    if len(shape) not in (2, 3):
        raise FibsegError(f"{path}: data of shape {shape}; expected a stack of (z, y, x).")
    unsigned = dtype == np.int8 and stamp == IMOD_STAMP and not flags & 1
    known = sizes != [0.1] * 3  # 1 Angstrom is what programs write that know nothing
    depth, height, width = shape if len(shape) == 3 else (1, *shape)

    def read(z: int) -> Slice:
        with damage_named(path, z), _opened(path) as file:
            plane = np.array(file.data[z] if len(shape) == 3 else file.data)
        native = plane.astype(plane.dtype.newbyteorder("="))
        return native.view(np.uint8) if unsigned else native

    kind = np.dtype(np.uint8) if unsigned else dtype.newbyteorder("=")
    return Stack(
        str(path),
        (depth, height, width),
        kind,
        read,
        voxel_size(sizes, ["nm"] * 3) if known else None,
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Mapped, not read; headers without the words "MAP ", as older programs write them, are taken."""
    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.mmap(path, mode="r", permissive=True) as file:
            if file.data is None:
                raise ValueError("its header does not fit its size")
            yield file
