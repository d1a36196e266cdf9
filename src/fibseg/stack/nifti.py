"""NIfTI, uncompressed: read slice by slice by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack.base import Slice, Stack, damage_named, voxel_size


def open_nifti(path: Path) -> Stack:
    """A volume; the file's order is x, y, z. Scaled values (a slope in the header) become float64."""
    import nibabel

    with damage_named(path):
        image: Any = nibabel.load(path)
        shape, proxy = image.shape, image.dataobj
        scaled = (proxy.slope, proxy.inter) != (1, 0)
        unit = image.header.get_xyzt_units()[0]
        sizes = [float(size) for size in image.header.get_zooms()[:3]][::-1]
        length = proxy.offset + int(np.prod(shape)) * proxy.dtype.itemsize
    if path.stat().st_size < length:
        raise FibsegError(f"{path}: the file is cut off: its header says {shape}.")
    if len(shape) != 3:
        raise FibsegError(f"{path}: data of shape {shape}; expected a volume of three axes.")
    dtype = np.dtype(np.float64) if scaled else proxy.dtype.newbyteorder("=")

    def read(z: int) -> Slice:
        with damage_named(path, z):
            return np.ascontiguousarray(np.asarray(proxy[:, :, z]).T.astype(dtype))

    width, height, depth = shape
    return Stack(str(path), (depth, height, width), dtype, read, voxel_size(sizes, [unit] * 3))
