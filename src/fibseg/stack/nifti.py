"""NIfTI, uncompressed: read slice by slice by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack
from fibseg.stack.failures import damage_named
from fibseg.stack.units import voxel_size_in_nm


def open_nifti(path: Path) -> Stack:
    """Open a volume. Values that the header scales by a slope or an intercept become float64.

    Raises:
        FibsegError: the file is damaged or cut off, or has not three axes.
    """
    import nibabel

    with damage_named(path):
        image: Any = nibabel.load(path)
        shape = image.shape
        proxy = image.dataobj
        # nibabel applies slope and intercept to what it reads, in float64.
        scaled = (proxy.slope, proxy.inter) != (1, 0)
        unit = image.header.get_xyzt_units()[0]
        # NIfTI's order is x, y, z.
        sizes = [float(size) for size in image.header.get_zooms()[:3]][::-1]
        length = proxy.offset + int(np.prod(shape)) * proxy.dtype.itemsize
    # nibabel maps the file and would read bytes beyond its end.
    if path.stat().st_size < length:
        raise FibsegError(f"{path}: the file is cut off: its header says {shape}.")
    if len(shape) != 3:
        raise FibsegError(f"{path}: data of shape {shape}; expected a volume of three axes.")
    dtype = np.dtype(np.float64) if scaled else proxy.dtype.newbyteorder("=")

    def read(z: int) -> Pixels:
        with damage_named(path, z):
            # (W, H) in the file, whose first axis is x; the cast gives the machine's byte order.
            return np.ascontiguousarray(np.asarray(proxy[:, :, z]).T.astype(dtype))

    width, height, depth = shape
    size = voxel_size_in_nm(sizes, [unit] * 3)
    return Stack(
        name=str(path), shape=(depth, height, width), dtype=dtype, read=read, voxel_size=size
    )
