"""Units of length, and voxel sizes in nanometres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VoxelSize = tuple[float, float, float]
"""(z, y, x) in nm."""

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
    factors = [_NANOMETRES.get(str(unit).strip().lower()) for unit in units]
    # A wrong voxel size is worse than none: it would enter volumes and the choice of a scale.
    if len(sizes) != 3 or len(factors) != 3 or None in factors:
        return None
    # Six digits, so that 0.02 um times 1000 is 20 nm and not 20.000000000000004.
    z, y, x = (
        float(f"{float(size) * (factor or 0):.6g}")
        for size, factor in zip(sizes, factors, strict=True)
    )
    return (z, y, x) if all(np.isfinite(size) and size > 0 for size in (z, y, x)) else None
