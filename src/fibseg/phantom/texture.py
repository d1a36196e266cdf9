"""Grain of the phantom's cytoplasm: random, of a given size, and continued from slice to slice.

Each slice is made from its Fourier transform, so a shift by a part of a pixel is exact. From one
slice to the next an amplitude of frequency f keeps the part exp(-`_FADE` f d), d the distance of
the slices: coarse grain reaches through many slices, fine grain through one.
"""

import numpy as np
from numpy.random import Generator
from scipy import fft

from fibseg.arrays import Floats

_FINE = 0.1
"""Mean frequency of the fine grain in cycles per pixel: grains of 5 pixels, a period of 10."""

_FINE_SPREAD = 0.05
"""Standard deviation of that frequency."""

_COARSE = 0.02
"""Standard deviation of the clouds' frequency in cycles per pixel: clouds of 20 pixels."""

_COARSE_SHARE = 0.4
"""The clouds' part of the amplitude."""

_FADE = 3.0


class Texture:
    """A random field (H, W) of mean 0 and standard deviation 1 in each slice.

    Its opposite edges continue each other.
    """

    def __init__(self, height: int, width: int, distance: float, rng: Generator) -> None:
        """Start with an empty slice.

        Args:
            height: H in pixels.
            width: W in pixels.
            distance: from slice to slice, in pixels.
            rng: drawn from at each slice.
        """
        self._rng = rng
        self._shape = (height, width)
        # Sides of small prime factors are transformed much faster; the rest is cut off.
        self._size = (fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True))
        # Frequencies in cycles per pixel.
        self._y = fft.fftfreq(self._size[0]).astype(np.float32)[:, None]
        self._x = fft.rfftfreq(self._size[1]).astype(np.float32)[None]
        frequency = np.hypot(self._y, self._x)
        self._keep = np.exp(-_FADE * distance * frequency)
        # Frequency 0 is left out, so that the mean of a slice is 0.
        fine = np.exp(-0.5 * ((frequency - _FINE) / _FINE_SPREAD) ** 2) * (frequency > 0)
        coarse = np.exp(-0.5 * (frequency / _COARSE) ** 2) * (frequency > 0)
        # Powers add up to 1, which makes the standard deviation 1.
        fine_power = (1.0 - _COARSE_SHARE**2) * fine**2 / np.sum(fine**2)
        coarse_power = _COARSE_SHARE**2 * coarse**2 / np.sum(coarse**2)
        power = fine_power + coarse_power
        # What is drawn makes up for what fades, so that all slices have one standard deviation.
        self._draw = np.sqrt(power * (1.0 - self._keep**2)) * (0.5 * self._size[0] * self._size[1])
        # The first slice has nothing to continue: it is drawn at the full amplitude.
        self._scale = 1.0 / np.sqrt(np.maximum(1.0 - self._keep**2, 1e-6))
        self._spectrum = np.zeros(frequency.shape, np.complex64)

    def next(self, shift: Floats) -> Floats:
        """Make the next slice, moved by `shift` (2,) = y, x in pixels.

        Returns:
            (H, W) float32.
        """
        normal = self._rng.standard_normal((*self._spectrum.shape, 2), np.float32)
        parts = normal.view(np.complex64)[..., 0]
        parts *= self._draw * self._scale
        self._scale = np.float32(1.0)
        # What is kept fades first, then the new part is added.
        self._spectrum *= self._keep
        self._spectrum += parts
        # A shift in space is a turn of phase in frequency (the Fourier shift theorem).
        moved = self._spectrum * np.exp(np.complex64(-2j * np.pi * shift[0]) * self._y)
        moved *= np.exp(np.complex64(-2j * np.pi * shift[1]) * self._x)
        field = fft.irfft2(moved, self._size, overwrite_x=True)
        return np.asarray(field[: self._shape[0], : self._shape[1]], np.float32)
