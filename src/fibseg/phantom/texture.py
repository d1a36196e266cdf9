"""Grain of the phantom's cytoplasm: random, of a given size, and continued from slice to slice.

Each slice is made from its Fourier transform, so a shift by a part of a pixel is exact. From one slice to the next an
amplitude of frequency f keeps the part exp(-`FADE` f d), d the distance of the slices: coarse grain reaches through
many slices, fine grain through one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.floating[Any]]
Rng = np.random.Generator

FINE, SPREAD = 0.1, 0.05  # cycles per pixel: grains of 5 pixels, a period of 10; standard deviation
COARSE, SHARE = 0.02, 0.4  # cycles per pixel: clouds of 20 pixels; their part of the amplitude
FADE = 3.0


class Texture:
    """A random field (H, W) of mean 0 and standard deviation 1 in each slice; its opposite edges continue."""

    def __init__(self, height: int, width: int, distance: float, rng: Rng) -> None:
        """Start with an empty slice.

        Args:
            height: H in pixels.
            width: W in pixels.
            distance: from slice to slice, in pixels.
            rng: drawn from at each slice.
        """
        self._rng, self._shape = rng, (height, width)
        self._size = (fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True))
        self._y = fft.fftfreq(self._size[0]).astype(np.float32)[:, None]  # cycles per pixel
        self._x = fft.rfftfreq(self._size[1]).astype(np.float32)[None]
        f = np.hypot(self._y, self._x)
        self._keep = np.exp(-FADE * distance * f)
        fine = np.exp(-0.5 * ((f - FINE) / SPREAD) ** 2) * (f > 0)
        coarse = np.exp(-0.5 * (f / COARSE) ** 2) * (f > 0)
        power = (1.0 - SHARE**2) * fine**2 / np.sum(fine**2) + SHARE**2 * coarse**2 / np.sum(
            coarse**2
        )
        self._draw = np.sqrt(power * (1.0 - self._keep**2)) * (0.5 * self._size[0] * self._size[1])
        self._scale = 1.0 / np.sqrt(np.maximum(1.0 - self._keep**2, 1e-6))  # of the first slice
        self._spectrum = np.zeros(f.shape, np.complex64)

    def next(self, shift: Floats) -> Floats:
        """Make the next slice, moved by `shift` (2,) = y, x in pixels.

        Returns:
            (H, W) float32.
        """
        parts = self._rng.standard_normal((*self._spectrum.shape, 2), np.float32).view(
            np.complex64
        )[..., 0]
        parts *= self._draw * self._scale
        self._scale = np.float32(1.0)
        self._spectrum *= self._keep
        self._spectrum += parts
        moved = self._spectrum * np.exp(np.complex64(-2j * np.pi * shift[0]) * self._y)
        moved *= np.exp(np.complex64(-2j * np.pi * shift[1]) * self._x)
        field = fft.irfft2(moved, self._size, overwrite_x=True)
        return np.asarray(field[: self._shape[0], : self._shape[1]], np.float32)
