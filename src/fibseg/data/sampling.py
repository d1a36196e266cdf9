"""Where training patches lie, 80 % around a class and 20 % at random, and how they are turned.

Meyer et al., ISBI 2021, section 2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.arrays import IGNORE, Ints, UInt8
from fibseg.errors import FibsegError


# A schema of conf/augmentation: no defaults, and not frozen, as those of data descriptions.
@dataclass
class Augmentation:
    """How much patches are changed; grey values are of [0, 1], and 0 switches a change off.

    Attributes:
        name: of these values together.
        share: chance of each change, for each patch by itself.
        gain: largest relative change of contrast, about the mean of the patch.
        offset: largest change of brightness.
        gamma: the exponent lies between 1 / (1 + gamma) and 1 + gamma.
        noise: largest standard deviation of the noise.
        blur: largest standard deviation of a Gaussian, in pixels.
        coarse: largest factor by which pixels are larger.
        curtains: standard deviation of stripes along y.
        charging: largest offset at the start of a line; it decays along x.
        scale: largest relative change of the size of structures, larger or smaller.
        elastic: standard deviation of how far places are moved, in pixels.
    """

    name: str
    share: float
    gain: float
    offset: float
    gamma: float
    noise: float
    blur: float
    coarse: float
    curtains: float
    charging: float
    scale: float
    elastic: float

    @property
    def is_plain(self) -> bool:
        """Whether patches stay as they are."""
        changes = [
            value for name, value in vars(self).items() if name not in ("name", "share") and value
        ]
        return self.share == 0 or not changes


@dataclass(frozen=True)
class Patches:
    """Coordinates of N patches, as arrays of length N.

    Attributes:
        index: position of the slice in the list that the sampler was given.
        row: first row of the patch in the slice.
        column: first column of the patch in the slice.
        quarter_turns: 0 to 3, counter-clockwise, done before the flips. Microscopes have no up or
            down, so that all eight are as likely; nothing is elastic.
        flip_columns: 1 where the patch is mirrored left to right.
        flip_rows: 1 where the patch is mirrored top to bottom.
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

    With probability `class_share` a foreground class is chosen uniformly among those present, then
    a pixel of it over all slices, and the patch is centred on that pixel, shifted inside the slice
    at its borders. Else every place is equally likely that lies in the annotated rectangle of a
    slice (in the slice, where that rectangle is smaller than a patch). Pixels are drawn with
    replacement, so that a draw depends on its seed alone.
    """

    def __init__(self, labels: Sequence[UInt8], size: int, class_share: float):
        """Look up where patches may lie.

        Args:
            labels: (H, W) class indices of each slice, IGNORE where unknown.
            size: side of a square patch in pixels.
            class_share: share of the patches that are centred on a pixel of a class.

        Raises:
            FibsegError: a slice is smaller than a patch, or no pixel is annotated.
        """
        self.size = size
        self.class_share = class_share
        self._shapes = np.array([slice_labels.shape for slice_labels in labels], np.int64)  # (S, 2)
        too_small = (self._shapes < size).any(axis=1)
        if too_small.any():
            height, width = self._shapes[too_small][0]
            raise FibsegError(
                f"patches.size: {size} is larger than a slice of {height} x {width}; choose less."
            )
        self._low, self._high = _start_ranges(labels, size)
        values = (np.unique(slice_labels).tolist() for slice_labels in labels)
        # Sorted, since the order of a set is part of no seed.
        present = sorted(set[int]().union(*values) - {0, IGNORE})
        self._labels = labels
        # For each class its pixels up to the end of each row, over the rows of all slices: a list
        # of all pixels would take more memory than the slices.
        self._row_ends = {index: _pixels_by_row(index, labels).cumsum() for index in present}
        heights = self._shapes[:, 0]
        self._slice_of_row = np.repeat(np.arange(len(labels)), heights)
        self._first_rows = heights.cumsum() - heights

    def draw(self, count: int, seed: Sequence[int], augment: bool) -> Patches:
        """Draw patches; the same seed gives the same patches, whatever was drawn before.

        Args:
            count: number of patches.
            seed: numbers that the generator starts from.
            augment: whether patches are turned and mirrored.
        """
        # The order of the draws below is part of the result: runs of a seed must see the patches
        # that earlier versions drew, so turns are drawn even where they are not used.
        generator = np.random.default_rng(list(seed))
        # Every patch gets a random place first; those of a class are overwritten below.
        index, row, column = self._random_places(count, generator)
        drawn_class = np.zeros(count, np.int64)
        if self._row_ends:
            centred = generator.random(count) < self.class_share
            drawn_class = np.where(centred, generator.choice(list(self._row_ends), count), 0)
        for class_index, ends in self._row_ends.items():
            of_class = np.flatnonzero(drawn_class == class_index)
            # With replacement: the authors' code shuffles pixels and uses them up, a state over
            # epochs.
            chosen = generator.integers(ends[-1], size=len(of_class))
            slices, rows, columns = self._places_of(class_index, chosen)
            index[of_class] = slices
            row[of_class] = _centred(rows, self._shapes[slices, 0], self.size)
            column[of_class] = _centred(columns, self._shapes[slices, 1], self.size)
        turns = generator.integers(4, size=count)
        flips = generator.integers(2, size=(2, count))
        if not augment:
            turns = np.zeros_like(turns)
            flips = np.zeros_like(flips)
        return Patches(
            index=index,
            row=row,
            column=column,
            quarter_turns=turns,
            flip_columns=flips[0],
            flip_rows=flips[1],
            drawn_class=drawn_class,
        )

    def _places_of(self, class_index: int, chosen: Ints) -> tuple[Ints, Ints, Ints]:
        """Give slice, row and column (N,) of the pixels of a class with these numbers (N,)."""
        ends = self._row_ends[class_index]
        rows_of_all = np.searchsorted(ends, chosen, side="right")
        slices = self._slice_of_row[rows_of_all]
        rows = rows_of_all - self._first_rows[slices]
        # Counted from the end of the row, since a row begins where the one before ends.
        from_end = ends[rows_of_all] - chosen
        columns = [
            np.flatnonzero(self._labels[z][row] == class_index)[-count]
            for z, row, count in zip(slices, rows, from_end, strict=True)
        ]
        return slices, rows, np.array(columns, np.int64)

    def _random_places(self, count: int, generator: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """Draw slice, first row and first column (N,) of patches at uniformly random places."""
        places = np.prod(self._high - self._low + 1, axis=1)  # (S,), 0 without annotation
        # Slices by their number of places, so that each place of the data set is equally likely.
        index = generator.choice(len(places), count, p=places / places.sum())
        start = generator.integers(self._low[index], self._high[index] + 1)  # (N, 2)
        return index.astype(np.int64), start[:, 0], start[:, 1]


def _start_ranges(labels: Sequence[UInt8], size: int) -> tuple[Ints, Ints]:
    """Find the first and last start (S, 2) of a random patch in each slice.

    The last one is the first less one where a slice has no annotation.
    """
    low = np.zeros((len(labels), 2), np.int64)
    high = np.full((len(labels), 2), -1, np.int64)
    for i, slice_labels in enumerate(labels):
        for axis in (0, 1):
            known = np.flatnonzero((slice_labels != IGNORE).any(axis=1 - axis))
            if len(known):
                # An annotation narrower than a patch is seen whole; the patch may reach beyond it.
                last_start = slice_labels.shape[axis] - size
                low[i, axis] = min(known[0], last_start)
                high[i, axis] = np.clip(known[-1] + 1 - size, low[i, axis], last_start)
    if (high < low).all():
        raise FibsegError("data: no pixel of the slices is annotated; nothing can be learned.")
    return low, high


def _pixels_by_row(index: int, labels: Sequence[UInt8]) -> Ints:
    """Count the pixels of a class in each row of all slices."""
    return np.concatenate(
        [np.count_nonzero(slice_labels == index, axis=1) for slice_labels in labels]
    )


def _centred(position: Ints, length: Ints, size: int) -> Ints:
    """Compute the start of a patch of `size` around a position, shifted inside [0, length)."""
    return np.clip(position - size // 2, 0, length - size)
