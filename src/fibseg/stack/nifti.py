"""NIfTI, uncompressed: read slice by slice by nibabel, in the orientation of its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, surplus
from fibseg.stack.failures import damage_named
from fibseg.stack.units import lengths_in_nm, voxel_size_in_nm


def open_nifti(path: Path) -> Stack:
    """Open a volume. Values that the header scales by a slope or an intercept become float64.

    The affine of the header says which axis of the file is x, y and z, and which way each runs. The
    stack has them in the order of nibabel's `as_closest_canonical`: x grows to the right, y to the
    front, z upwards. A header without an orientation has x, y, z as they are stored.

    Raises:
        FibsegError: the file is damaged or cut off, or has other than three axes.
    """
    import nibabel

    with damage_named(path):
        image: Any = nibabel.load(path)
        shape = image.shape
        proxy = image.dataobj
        # nibabel applies slope and intercept to what it reads, in float64.
        scaled = (proxy.slope, proxy.inter) != (1, 0)
        unit = image.header.get_xyzt_units()[0]
        zooms = [float(size) for size in image.header.get_zooms()]
        length = proxy.offset + int(np.prod(shape)) * proxy.dtype.itemsize
        # Without a code the affine is a guess of nibabel, which turns x around.
        stated = bool(image.header["sform_code"] or image.header["qform_code"])
        affine = np.asarray(image.affine if stated else np.eye(4), float)
    # nibabel maps the file and would read bytes beyond its end.
    if path.stat().st_size < length:
        raise FibsegError(f"{path}: the file is cut off: its header says {shape}.")
    # Programs that know time and channels write axes of length 1 for them.
    if not 2 <= len(shape) <= 7 or any(side != 1 for side in shape[3:]):
        raise FibsegError(f"{path}: data of shape {shape}; expected a volume of three axes.")
    sides = (*shape, 1)[:3]
    axes, flips = _orientation(path, affine)
    dtype = np.dtype(np.float64) if scaled else proxy.dtype.newbyteorder("=")
    width, height, depth = (sides[axis] for axis in axes)

    def read(z: int) -> Pixels:
        with damage_named(path, z):
            plane = _read_plane(proxy, z, axes, flips)
        # The cast gives the machine's byte order.
        return np.ascontiguousarray(plane.astype(dtype))

    sizes = [(*zooms, 1.0)[:3][axis] for axis in axes]
    origin = _origin(affine, sides, axes, flips)
    return Stack(
        name=str(path),
        shape=(depth, height, width),
        dtype=dtype,
        read=read,
        voxel_size=voxel_size_in_nm(sizes[::-1], [unit] * 3),
        origin=lengths_in_nm(origin[::-1], [unit] * 3) if stated else None,
        doubts=(*_doubts(path, affine, axes, flips), *surplus(path, length)),
        orientation=_orientation_text(axes, flips) if stated else "",
    )


def _orientation(path: Path, affine: Any) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Read which axis of the file x, y and z are, and which of them run backwards."""
    from nibabel.orientations import io_orientation

    with damage_named(path):
        # A row per axis of the file: the axis of space, and the direction.
        rows = io_orientation(affine)  # type: ignore[no-untyped-call]
        if np.isnan(rows).any():
            raise ValueError("its affine has no direction for an axis")
    axes = tuple(int(axis) for axis in np.argsort(rows[:, 0]))
    return axes, tuple(bool(rows[axis, 1] < 0) for axis in axes)


def _read_plane(proxy: Any, z: int, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Pixels:
    """Read a slice of the stack, (y, x)."""
    shape = proxy.shape
    index: list[Any] = [slice(None)] * min(3, len(shape)) + [0] * (len(shape) - 3)
    if len(shape) > 2:
        index[axes[2]] = shape[axes[2]] - 1 - z if flips[2] else z
    # Two axes are left, x and y in the order of the file.
    plane = np.asarray(proxy[tuple(index)])
    plane = plane.T if axes[0] < axes[1] else plane
    return plane[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]


def _origin(
    affine: Any, sides: tuple[int, ...], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> list[float]:
    """Compute where the affine puts the first voxel of the stack: x, y, z."""
    voxel = np.zeros(3)
    for axis, flip in zip(axes, flips, strict=True):
        voxel[axis] = sides[axis] - 1 if flip else 0
    origin: list[float] = (affine[:3, :3] @ voxel + affine[:3, 3]).tolist()
    return origin


def _orientation_text(axes: tuple[int, ...], flips: tuple[bool, ...]) -> str:
    """Write the axes of space in the order of the file; a minus for those that run backwards."""
    signs = ["-" if flip else "+" for flip in flips]
    return "".join(signs[axes.index(axis)] + "xyz"[axes.index(axis)] for axis in range(3))


def _doubts(
    path: Path, affine: Any, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[str, ...]:
    """Say where slices differ from what the file holds in its own order."""
    doubts = []
    if axes != (0, 1, 2) or any(flips):
        turned = [axis for axis, flip in zip("xyz", flips, strict=True) if flip]
        stored = "".join("xyz"[axes.index(axis)] for axis in range(3))
        doubts.append(
            f"{path}: its header orders the axes as {stored}"
            f"{' and turns ' + ', '.join(turned) + ' around' if turned else ''}; slices are put in "
            "the header's order, so that a TIFF of the same stack may lie the other way."
        )
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(directions).max(axis=0) < 0.9999).any():
        doubts.append(f"{path}: its header turns the volume by an angle, which is not undone.")
    return tuple(doubts)
