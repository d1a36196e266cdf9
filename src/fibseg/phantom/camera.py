"""The microscope of the phantom: what a FIB-SEM adds to a drawn slice; never a result.

In the order of `Camera.expose`: blur, curtains, charging, brightness that drifts, noise.

- Blur: a Gaussian of `_BLUR` pixels, the width of the beam.
- Curtains: the ion beam mills along y and leaves stripes along y that fade slowly from slice to
  slice; strong ones begin below dense structures (Giannuzzi and Stevie, Micron 30, 1999,
  doi:10.1016/S0968-4328(99)00005-0).
- Charging: resin conducts badly. Where the scan, along +x, enters resin the line is too bright,
  where it enters the cell too dark, and both decay with the distance; strength and offset differ
  from line to line.
- Noise: the number of electrons of a pixel is Poisson distributed, so the variance grows with the
  grey level; here a normal distribution of the same variance. The bandwidth of the detector smears
  signal and noise a little along the scan line; the noise of the amplifier comes after it (Reimer,
  Scanning Electron Microscopy, 2nd ed., 1998).

Nothing here moves a structure: the filters are symmetric, so the labels stay exact.
"""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from fibseg.arrays import Floats, Mask, UInt8

_BLUR = 1.0
"""Standard deviation of the beam in pixels."""

_SCAN = (0.06, 0.88, 0.06)
"""What a pixel gets of its left neighbour, itself and its right neighbour."""

_ELECTRONS = 1.1
"""Electrons per grey level."""

_AMPLIFIER = 5.0
"""Standard deviation of the amplifier's noise in grey levels."""

_CURTAIN = 2.2
"""Standard deviation of the curtains in grey levels."""

_CURTAIN_KEPT = 0.8
"""The part of a curtain that the next slice keeps."""

_STREAK = 9.0
"""Grey levels of a strong curtain."""

_DENSE = 110.0
"""Grey level below which a structure starts strong curtains."""

_CHARGE = 15.0
"""Grey levels of charging at the edge of the resin."""

_CHARGE_KEPT = 0.96
"""The part of the charging that is left one pixel further along the line."""

_LINE_OFFSET = 0.7
"""Standard deviation of the lines' offsets in grey levels."""


def slow_drift(count: int, step: float, jitter: float, rng: Generator) -> Floats:
    """Draw a slow drift with jitter: a smooth random walk around 0.

    Args:
        count: slices.
        step: standard deviation of the walk's steps.
        jitter: standard deviation of what each slice has by itself, in the unit of `step`.
        rng: drawn from.

    Returns:
        (count,) float64.
    """
    # A random walk is rough; smoothed, it drifts slowly.
    walk = ndimage.gaussian_filter1d(np.cumsum(rng.normal(0.0, step, count)), 1.0, mode="nearest")
    return np.asarray(walk - walk.mean() + rng.normal(0.0, jitter, count))


def tails(signal: Floats, keep: float) -> Floats:
    """Replace each pixel by the decaying mean of those before it along x.

    Args:
        signal: (H, W) floating.
        keep: 0 to 1, the part of the mean that the next pixel keeps.

    Returns:
        (H, W) as `signal`: out[x] = keep * out[x - 1] + (1 - keep) * signal[x], and the first pixel
        as it is.
    """
    # The filter 1 / (1 - k z) is the product (1 + k z)(1 + k^2 z^2)(1 + k^4 z^4)...: a few passes
    # over the whole slice in place of a loop over its columns.
    first = signal[:, :1]
    out = (signal - first) * (1.0 - keep)
    reach = 1
    # Each pass doubles the reach; below a thousandth a tail is invisible.
    while reach < signal.shape[1] and keep**reach > 1e-3:
        out[:, reach:] += keep**reach * out[:, :-reach]
        reach *= 2
    return np.asarray(out + first, signal.dtype)


class Camera:
    """Exposes the slices of one stack, from the first to the last."""

    def __init__(self, shape: tuple[int, int, int], rng: Generator) -> None:
        """Draw what all slices share.

        Args:
            shape: (Z, H, W) of the stack.
            rng: drawn from, now and at each exposure.
        """
        depth, height, width = shape
        self._rng = rng
        # Clipped, so that no slice of a long stack drifts out of the grey levels of the others.
        self._gain = 1.0 + np.clip(slow_drift(depth, 0.01, 0.008, rng), -0.06, 0.06)
        self._offset = np.clip(slow_drift(depth, 1.2, 1.2, rng), -6.0, 6.0)
        self._shade = _shading(height, width, rng)
        turn = np.linspace(0.0, rng.uniform(0.6, 1.4), height, dtype=np.float32)
        # (H, 2): curtains change slowly along y, from the first profile to the second.
        self._bend = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        # (3, W): the two profiles of the bend, and the strong curtains.
        self._curtains = _stripes(width, rng)

    def expose(self, grey: Floats, resin: Mask, z: int) -> UInt8:
        """Take the image of one slice; call it for z = 0, 1, 2... in turn.

        Args:
            grey: (H, W) float32, grey levels without noise.
            resin: (H, W), true outside the cells.
            z: index of the slice.

        Returns:
            (H, W) uint8.
        """
        rng = self._rng
        height, width = grey.shape
        if z:
            # The two parts add up to the same variance in every slice.
            fresh = np.float32((1.0 - _CURTAIN_KEPT**2) ** 0.5)
            self._curtains = _CURTAIN_KEPT * self._curtains + fresh * _stripes(width, rng)
        # Three standard deviations: what lies further adds less than a grey level.
        mean = ndimage.gaussian_filter(grey, _BLUR, truncate=3.0)
        # The gain turns about mid-grey, so that contrast changes and brightness stays.
        mean -= np.float32(128.0)
        mean *= np.float32(self._gain[z])
        mean += self._shade
        mean += np.float32(128.0 + self._offset[z])
        first, second, strong = self._curtains
        mean += self._bend[:, :1] * (np.float32(_CURTAIN) * first)
        mean += self._bend[:, 1:] * (np.float32(_CURTAIN) * second)
        # What exceeds one standard deviation is strong; two more are enough.
        streaks = np.clip(strong - np.clip(strong, -1.0, 1.0), -2.0, 2.0)
        mean += _below(grey) * (np.float32(_STREAK) * streaks)
        mean += _charging(resin, rng)
        mean += rng.normal(0.0, _LINE_OFFSET, (height, 1)).astype(np.float32)
        return _detect(mean, rng)


def _shading(height: int, width: int, rng: Generator) -> Floats:
    """Draw smooth grey offsets (H, W) of about -8 to 8: a tilted, slightly bowed plane."""
    y = np.linspace(-1.0, 1.0, height)[:, None]
    x = np.linspace(-1.0, 1.0, width)[None]
    slope_y, slope_x, bow = rng.uniform(-4.0, 4.0, 3)
    return np.asarray(slope_y * y + slope_x * x + bow * (x**2 + y**2 - 0.7), np.float32)


def _stripes(width: int, rng: Generator) -> Floats:
    """Draw three profiles (3, W) of standard deviation 1 or so: narrow, a few of them strong."""
    white = rng.standard_normal((3, width), np.float32)
    # Squared with its sign kept: most stripes become weaker, few stronger.
    white *= np.abs(white)
    fine = ndimage.gaussian_filter1d(white, 1.2, axis=1)
    coarse = ndimage.gaussian_filter1d(white, 6.0, axis=1)
    # The difference leaves stripes of a few pixels, without the slow part that shading has already.
    band = fine - coarse
    return np.asarray(band / 0.68, np.float32)


def _below(grey: Floats) -> Floats:
    """Compute how much dense matter is above a pixel (H, W), where the ions come from: 0 to 1."""
    # Summed along y, the direction of the ions. The 12 pixels let the effect begin gradually.
    dense = np.cumsum(grey < _DENSE, axis=0, dtype=np.float32)
    return dense / (dense + np.float32(12.0))


def _charging(resin: Mask, rng: Generator) -> Floats:
    """Draw the grey offsets (H, W) of charging: edges of the resin leave tails along x.

    Lines differ in strength, and neighbouring lines differ less.
    """
    signal = resin.astype(np.float32)
    # Filtered along y alone: each line has one strength over its whole length.
    lines = ndimage.gaussian_filter1d(rng.normal(0.0, 1.5, len(resin)), 1.5)
    lines = lines + rng.normal(1.0, 0.25, len(resin))
    signal -= tails(signal, _CHARGE_KEPT)
    signal *= (_CHARGE * np.clip(lines, 0.0, 2.5)).astype(np.float32)[:, None]
    return signal


def _detect(mean: Floats, rng: Generator) -> UInt8:
    """Count electrons, smear them along the line, amplify: grey levels (H, W) become uint8."""
    noise = rng.standard_normal(mean.shape, np.float32)
    # n electrons have variance n; in grey levels, mean / electrons per level.
    noise *= np.sqrt(np.maximum(mean, 1.0) / np.float32(_ELECTRONS))
    noise += mean
    signal = ndimage.correlate1d(noise, _SCAN, axis=1, mode="nearest")
    signal += rng.standard_normal(mean.shape, np.float32) * np.float32(_AMPLIFIER)
    return np.asarray(np.clip(np.rint(signal, out=signal), 0, 255, out=signal), np.uint8)
