"""MRC, as microscopes and IMOD write it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, surplus
from fibseg.stack.failures import damage_named
from fibseg.stack.units import voxel_size_in_nm

_IMOD_STAMP = 1146047817
"""IMOD's mark in bytes 152 to 155 of the header (https://bio3d.colorado.edu/imod/doc/mrc_format.txt).

Where it stands, bit 0 of the next four bytes says whether the bytes of mode 0 are signed.
"""


def open_mrc(path: Path) -> Stack:
    """Open a volume, or one slice; IMOD's unsigned bytes are read as uint8.

    The header says which axis is the column, the row and the section: x, y, z in most files.

    Raises:
        FibsegError: the file is damaged, or holds a stack of volumes.
    """
    with damage_named(path), _opened(path) as file:
        shape = file.data.shape
        dtype = file.data.dtype
        # mrcfile gives Angstrom: the edges of the cell divided by its samples.
        sizes = [float(file.voxel_size[axis]) / 10 for axis in "zyx"]
        # The header, the extended header and the pixels.
        length = 1024 + int(file.header.nsymbt) + file.data.nbytes
        codes = [int(file.header[name]) for name in ("maps", "mapr", "mapc")]
        byte_order = file.header.mode.dtype.byteorder
        # mrcfile keeps these bytes in a field without names.
        with path.open("rb") as header:
            header.seek(152)
            stamp, flags = np.frombuffer(header.read(8), np.dtype("i4").newbyteorder(byte_order))
    if len(shape) not in (2, 3):
        raise FibsegError(f"{path}: data of shape {shape}; expected a stack of (z, y, x).")
    # Bytes of mode 0 are signed in the standard, and unsigned in IMOD's files unless bit 0 is set.
    unsigned = dtype == np.int8 and stamp == _IMOD_STAMP and not flags & 1
    # The axis of the file that is z, y and x; a header may also leave the codes out as zeros.
    order = [codes.index(code) for code in (3, 2, 1)] if sorted(codes) == [1, 2, 3] else [0, 1, 2]
    sides = shape if len(shape) == 3 else (1, *shape)
    depth, height, width = (sides[axis] for axis in order)

    def read(z: int) -> Pixels:
        with damage_named(path, z), _opened(path) as file:
            # A view of the mapped file, of which one slice is copied.
            pixels = np.array(file.data.reshape(sides).transpose(order)[z])
        # torch takes arrays of the machine's byte order only.
        native = pixels.astype(pixels.dtype.newbyteorder("="))
        return native.view(np.uint8) if unsigned else native

    # Programs that do not know the size of a voxel write 1 Angstrom.
    size = None if sizes == [0.1] * 3 else voxel_size_in_nm(sizes, ["nm"] * 3)
    pixel_type = np.dtype(np.uint8) if unsigned else dtype.newbyteorder("=")
    return Stack(
        name=str(path),
        shape=(depth, height, width),
        dtype=pixel_type,
        read=read,
        voxel_size=size,
        doubts=surplus(path, length),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Map the file into memory without reading its pixels."""
    import mrcfile

    with warnings.catch_warnings():
        # A permissive mrcfile warns of each oddity of a header; what matters is checked by the
        # caller.
        warnings.simplefilter("ignore")
        # Permissive: older programs write headers without the words "MAP ".
        with mrcfile.mmap(path, mode="r", permissive=True) as file:
            if file.data is None:
                raise ValueError("its header does not fit its size")
            yield file
