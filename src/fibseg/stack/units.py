"""Units of length, and the axes, voxel sizes and places that attributes of arrays state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

VoxelSize = tuple[float, float, float]
"""(z, y, x) in nm."""

_AXIS_ATTRIBUTES = (
    "_ARRAY_DIMENSIONS",  # xarray's, in Zarr 2
    "axis_names",  # funlib
    "axes",
    "dimension_names",
    "dimensions",
)
"""Attributes that name the axes of an array in its own order."""

_NANOMETRES = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "um": 1e3,
    # The micro sign (U+00B5) and the Greek letter mu (U+03BC) look alike; both are in use.
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}
"""Unit of length in lower case -> its length in nm."""


def voxel_size_in_nm(sizes: Sequence[float], units: Sequence[str]) -> VoxelSize | None:
    """Convert a voxel size (z, y, x) to nm; None where a unit is unknown or a size is no length.

    >>> voxel_size_in_nm([0.02, 5, 5], ["micrometer", "nm", "nm"])
    (20.0, 5.0, 5.0)
    """
    lengths = lengths_in_nm(sizes, units)
    # A wrong voxel size is worse than none: it would enter volumes and the choice of a scale.
    return lengths if lengths is not None and min(lengths) > 0 else None


def lengths_in_nm(lengths: Sequence[float], units: Sequence[str]) -> VoxelSize | None:
    """Convert three lengths (z, y, x) to nm; None where a unit is unknown or one is no number.

    >>> lengths_in_nm([-0.02, 0, 5], ["micrometer", "nm", "nm"])
    (-20.0, 0.0, 5.0)
    """
    factors = [_NANOMETRES.get(str(unit).strip().lower()) for unit in units]
    if len(lengths) != 3 or len(factors) != 3 or None in factors:
        return None
    # Nine digits, so that 0.02 um times 1000 is 20 nm and not 20.000000000000004.
    z, y, x = (
        float(f"{float(length) * (factor or 0):.9g}")
        for length, factor in zip(lengths, factors, strict=True)
    )
    return (z, y, x) if np.isfinite([z, y, x]).all() else None


def axis_letters(names: Iterable[object], count: int) -> str:
    """Take the first letters of the names of `count` axes; empty where they are no axes of a stack.

    >>> axis_letters(["Z", "y", "x"], 3), axis_letters(["dim_0", "dim_1"], 2)
    ('zyx', '')
    """
    letters = "".join(_text(name)[:1].lower() for name in names)
    # Names that are no axes of a picture, or begin with the same letter, tell nothing.
    known = {"y", "x"} <= set(letters) and len(set(letters)) == len(letters) == count
    return letters if known else ""


def stated_axes(attributes: Mapping[str, Any], count: int) -> str:
    """Read a letter for each of the `count` axes from attributes; empty where none names them."""
    transform = attributes.get("transform")
    stated = [attributes.get(name) for name in _AXIS_ATTRIBUTES]
    if isinstance(transform, Mapping):
        stated.append(_in_order(transform, transform.get("axes")))
    named = [axis_letters(_items(names), count) for names in stated if names is not None]
    return next((letters for letters in named if letters), "")


def stated_place(
    attributes: Mapping[str, Any], axes: str
) -> tuple[VoxelSize | None, VoxelSize | None]:
    """Read voxel size and origin, (z, y, x) in nm, from the attributes of an array.

    Read are `transform` as xarray-style attributes of CellMap have it, `pixelResolution` of N5
    viewers, `resolution` or `voxel_size` with `offset` and `units` of gunpowder and funlib, and
    `element_size_um` of Fiji. Lengths without a unit are nm, as those programs take them.

    Args:
        attributes: of the array.
        axes: a letter per axis, in the order of the array.
    """
    transform = attributes.get("transform")
    if isinstance(transform, Mapping):
        keys = ("scale", "translate", "units")
        scale, translation, units = (_in_order(transform, transform.get(key)) for key in keys)
        return _placed(axes, scale, translation, units)
    pixels = attributes.get("pixelResolution")
    if isinstance(pixels, Mapping):
        # Its order is x, y, z whatever the order of the array.
        sizes = _items(pixels.get("dimensions"))[::-1]
        spatial = "".join(axis for axis in "zyx" if axis in axes)
        return _placed(spatial, sizes, attributes.get("offset"), pixels.get("unit"))
    if "element_size_um" in attributes:
        return voxel_size_in_nm(_numbers(attributes["element_size_um"]), ["um"] * 3), None
    sizes = attributes.get("resolution", attributes.get("voxel_size"))
    units = attributes.get("units", attributes.get("unit"))
    return _placed(axes, sizes, attributes.get("offset"), units)


def _placed(
    axes: str, sizes: Any, offset: Any, units: Any
) -> tuple[VoxelSize | None, VoxelSize | None]:
    """Sort what is stated for each axis by z, y, x, and convert it to nm."""
    names = [_text(unit) for unit in _items(units)] or ["nm"]
    names = names * len(_items(sizes)) if len(names) == 1 else names
    ordered_units = _by_axis(axes, names)
    ordered_sizes = _by_axis(axes, _numbers(sizes))
    ordered_offset = _by_axis(axes, _numbers(offset))
    size = voxel_size_in_nm(ordered_sizes, ordered_units)
    return size, lengths_in_nm(ordered_offset, ordered_units) if size else None


def _by_axis(axes: str, values: Sequence[Any]) -> list[Any]:
    """Pick the values of z, y and x; empty where their number fits neither all axes nor those."""
    spatial = "".join(axis for axis in axes if axis in "zyx")
    letters = next((letters for letters in (axes, spatial) if len(letters) == len(values)), "")
    return [values[letters.index(axis)] for axis in "zyx"] if {*"zyx"} <= set(letters) else []


def _in_order(transform: Mapping[str, Any], values: Any) -> Any:
    """Turn values that are written in Fortran's order, x first, into that of the array."""
    return _items(values)[::-1] if transform.get("ordering") == "F" else values


def _items(values: Any) -> list[Any]:
    """List what an attribute holds: a list, an array, a text, or nothing."""
    if values is None:
        return []
    # NGFF describes each axis by a dictionary.
    return [
        value.get("name", "") if isinstance(value, Mapping) else value
        for value in np.ravel(np.array(values, object)).tolist()
    ]


def _numbers(values: Any) -> list[float]:
    """List the numbers of an attribute; empty where it holds anything else."""
    try:
        return [float(value) for value in _items(values)]
    except (TypeError, ValueError):
        return []


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
