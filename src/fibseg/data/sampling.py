"""Where to cut: random training patches, fixed validation patches, and the windows of a prediction.

Coordinates only, no pixels. Policy: Meyer et al., ISBI 2021, section 2.3 (80 % of patches around a class, 20 % random).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Patches:
    """N patches as arrays of length N.

    Attributes:
        index: position of the slice in the list that the sampler was given.
        row, column: first row and column of the patch in the slice.
        quarter_turns: 0 to 3, counter-clockwise, done before the flips.
        flip_columns, flip_rows: 0 or 1: mirrored left to right, top to bottom.
        drawn_class: the class whose pixel the patch was centred on; 0 for a random place.
    """

    index: Ints
    row: Ints
    column: Ints
    quarter_turns: Ints
    flip_columns: Ints
    flip_rows: Ints
    drawn_class: Ints

    def __len__(self) -> int:
        return len(self.index)


class PatchSampler:
    """Draws patches by the 80/20 policy.

    With probability `class_share` a foreground class is chosen uniformly among those present, then a pixel of it over
    all slices, and the patch is centred on that pixel, shifted inside the slice at its borders. Else every place is
    equally likely that lies in the annotated rectangle of a slice (in the slice, where that rectangle is smaller than
    a patch). Pixels are drawn with replacement, so that a draw depends on its seed alone.
    """

    def __init__(self, labels: Sequence[NDArray[np.uint8]], size: int, class_share: float):
        """Labels are (H, W) class indices, IGNORE where unknown; size is a side of the square patch in pixels.

        Raises:
            FibsegError: a slice is smaller than a patch, or no pixel is annotated.
        """
        self.size, self.class_share = size, class_share
        self._shapes = np.array([one.shape for one in labels], np.int64)  # (S, 2)
        if (self._shapes < size).any():
            height, width = self._shapes[(self._shapes < size).any(axis=1)][0]
            raise FibsegError(
                f"patches.size: {size} is larger than a slice of {height} x {width}; choose less."
            )
        self._low, self._high = _start_ranges(labels, size)
        present = sorted(
            set[int]().union(*(np.unique(one).tolist() for one in labels)) - {0, IGNORE}
        )
        self._pixels = {value: _pixels_of(value, labels) for value in present}

    def draw(self, count: int, seed: Sequence[int], augment: bool) -> Patches:
        """`count` patches; the same for the same seed, whatever was drawn before. Without `augment` none is turned."""
        generator = np.random.default_rng(list(seed))
        index, row, column = self._random_places(count, generator)
        drawn = np.zeros(count, np.int64)
        if self._pixels:
            centred = generator.random(count) < self.class_share
            drawn = np.where(centred, generator.choice(list(self._pixels), count), 0)
        for value, (slices, flat) in self._pixels.items():
            of_class = np.flatnonzero(drawn == value)
            chosen = generator.integers(len(flat), size=len(of_class))
            index[of_class] = slices[chosen]
            shapes = self._shapes[slices[chosen]]
            row[of_class] = _centred(flat[chosen] // shapes[:, 1], shapes[:, 0], self.size)
            column[of_class] = _centred(flat[chosen] % shapes[:, 1], shapes[:, 1], self.size)
        turns, flips = generator.integers(4, size=count), generator.integers(2, size=(2, count))
        if not augment:
            turns, flips = np.zeros_like(turns), np.zeros_like(flips)
        return Patches(index, row, column, turns, flips[0], flips[1], drawn)

    def _random_places(self, count: int, generator: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        places = np.prod(
            self._high - self._low + 1, axis=1
        )  # (S,) 0 for a slice without annotation
        index = generator.choice(len(places), count, p=places / places.sum())
        low, high = self._low[index], self._high[index]
        start = generator.integers(low, high + 1)  # (N, 2)
        return index.astype(np.int64), start[:, 0], start[:, 1]


def _start_ranges(labels: Sequence[NDArray[np.uint8]], size: int) -> tuple[Ints, Ints]:
    """First and last start (S, 2) of a random patch in each slice; last = first - 1 where nothing is annotated."""
    low, high = np.zeros((len(labels), 2), np.int64), np.full((len(labels), 2), -1, np.int64)
    for i, one in enumerate(labels):
        for axis in (0, 1):
            known = np.flatnonzero((one != IGNORE).any(axis=1 - axis))
            if len(known):
                last_start = one.shape[axis] - size
                low[i, axis] = min(known[0], last_start)
                high[i, axis] = np.clip(known[-1] + 1 - size, low[i, axis], last_start)
    if (high < low).all():
        raise FibsegError("data: no pixel of the slices is annotated; nothing can be learned.")
    return low, high


def _pixels_of(value: int, labels: Sequence[NDArray[np.uint8]]) -> tuple[Ints, Ints]:
    """Slice and flat position of every pixel of a class."""
    flat = [np.flatnonzero(one == value) for one in labels]
    slices = np.repeat(np.arange(len(labels)), [len(one) for one in flat])
    return slices, np.concatenate(flat)


def _centred(position: Ints, length: Ints, size: int) -> Ints:
    """Start of a patch of `size` around a position, shifted inside [0, length)."""
    return np.clip(position - size // 2, 0, length - size)
