"""How a slice is cut for a prediction: the paper's windows, tiles, overlapping windows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints
from fibseg.errors import FibsegError
from fibseg.models.kinds import ALL_WINDOWS, Kind
from fibseg.models.trained import TrainedModel

LARGEST_WHOLE = 2048**2
"""Pixels of the largest slice that a network sees whole; larger ones are cut into tiles."""

LARGE_TILE = 1024
SMALL_TILE = 512
"""Sides of tiles in pixels."""

WINDOW_AREA = 256**2
"""Pixels of a window of the paper; a batch of tiles holds as many pixels as a batch of these."""


@dataclass(frozen=True)
class Cut:
    """A window along one axis.

    Attributes:
        start: first position that the network sees; may lie before the axis.
        stop: end of what the network sees; may lie behind the axis.
        first: first position whose output is used.
        last: end of what is used.
    """

    start: int
    stop: int
    first: int
    last: int


def window_third(size: int) -> int:
    """Give the stride of the paper's windows and the side of their kept centre: 256 -> 85."""
    return size // 3


def window_starts(length: int, size: int) -> tuple[Ints, tuple[int, int]]:
    """Place the paper's windows along one axis: starts, and the mirrored pixels at both ends.

    A window covers padded[start : start + size], where padded has that many mirrored pixels. Pixels
    [third, 2 * third) of each window are kept and tile the axis without overlap; the last tile may
    pass its end.

    >>> window_starts(200, 256)
    (array([  0,  85, 170]), (85, 141))
    """
    third = window_third(size)
    # The kept centres begin at 0 and meet; windows begin a third earlier, in mirrored pixels.
    starts = np.arange(0, length, third)
    return starts, (third, int(starts[-1]) + size - third - length)


def paper_cuts(length: int, size: int) -> list[Cut]:
    """Give `window_starts` in coordinates of the axis itself: each pixel is used once.

    >>> paper_cuts(200, 256)[1:]
    [Cut(start=0, stop=256, first=85, last=170), Cut(start=85, stop=341, first=170, last=200)]
    """
    starts, (before, _) = window_starts(length, size)
    third = window_third(size)
    cuts = []
    for first in starts.tolist():
        start = first - before
        cuts.append(Cut(start, start + size, first, min(first + third, length)))
    return cuts


def tile_cuts(length: int, side: int, halo: int, grid: int) -> list[Cut]:
    """Cut tiles of which `side` pixels are used, with `halo` more on both sides, inside the axis.

    Each pixel is used once.

    Args:
        length: of the axis, in pixels.
        side: used pixels of a tile, at most, but for the rounding up to a multiple of `grid`.
        halo: pixels seen around them, rounded up likewise.
        grid: stride of the network's deepest activations: starts are multiples of it, so that every
            pooling cuts where it cuts in the whole slice.

    >>> tile_cuts(120, 64, 16, 16)
    [Cut(start=0, stop=80, first=0, last=64), Cut(start=48, stop=120, first=64, last=120)]
    """
    # Tiles of about one size, so that none is a sliver.
    count = _divided_up(length, side)
    side = grid * _divided_up(_divided_up(length, count), grid)
    halo = grid * _divided_up(halo, grid)
    cuts = []
    for first in range(0, length, side):
        last = min(length, first + side)
        # Cut at the axis's ends, where the network pads as it does for the whole slice.
        cuts.append(Cut(max(0, first - halo), min(length, first + side + halo), first, last))
    return cuts


def _divided_up(number: int, divisor: int) -> int:
    """Divide and round up."""
    return -(-number // divisor)


def blend_cuts(length: int, size: int) -> list[Cut]:
    """Place windows of `size` that overlap by half or more, inside the axis, and are used whole.

    A short axis has one, which passes its end.

    >>> [(cut.first, cut.last) for cut in blend_cuts(100, 64)]
    [(0, 64), (18, 82), (36, 100)]
    """
    if length <= size:
        return [Cut(0, size, 0, length)]
    count = 1 + _divided_up(length - size, size // 2 or 1)
    # Evenly spread, so that the last window ends with the axis.
    starts = [round(k * (length - size) / (count - 1)) for k in range(count)]
    return [Cut(start, start + size, start, start + size) for start in starts]


def blend_weights(size: int) -> NDArray[np.float32]:
    """Compute Gaussian weights (size, size) of a window, largest at its centre and nowhere 0.

    The standard deviation is size / 8, as in nnU-Net (Isensee et al., Nature Methods 2021,
    doi:10.1038/s41592-020-01008-z).
    """
    distance = (np.arange(size) - (size - 1) / 2) / (size / 8)
    along = np.exp(-0.5 * distance**2)
    # Not 0: the corners of a slice lie in one window alone, and are divided by this weight.
    return np.maximum(np.outer(along, along), 1e-4).astype(np.float32)


@dataclass(frozen=True)
class Windows:
    """How a slice is cut.

    Attributes:
        kind: "paper": windows of `size` of which the centre third is used, mirrored at the borders
            (Meyer et al., ISBI 2021, section 2.3); "whole": the slice at once; "tiles": large tiles
            with a halo, each pixel used once; "blend": windows of `size` that overlap by half,
            averaged with Gaussian weights.
        size: side in pixels, of a window, or of what is used of a tile; 0 for "whole".
        halo: pixels that a tile sees around what is used of it.
        grid: starts of tiles are multiples of it.
    """

    kind: str
    size: int
    halo: int
    grid: int

    def __str__(self) -> str:
        return self.kind if self.kind == "whole" else f"{self.kind} {self.size}"

    def cuts(self, height: int, width: int) -> list[tuple[Cut, Cut]]:
        """List rows and columns of every window of a slice."""
        row_cuts = self._along(height)
        column_cuts = self._along(width)
        return [(rows, columns) for rows in row_cuts for columns in column_cuts]

    def _along(self, length: int) -> list[Cut]:
        if self.kind == "paper":
            return paper_cuts(length, self.size)
        if self.kind == "blend":
            return blend_cuts(length, self.size)
        if self.kind == "whole":
            # A single tile; the network pads it to a multiple of its stride itself.
            return tile_cuts(length, length, halo=0, grid=1)
        return tile_cuts(length, self.size, self.halo, self.grid)

    def at_once(self, height: int, width: int, batch_size: int) -> int:
        """Count the windows of this shape that a network sees in a batch.

        Tiles are as many as have no more pixels than `batch_size` windows of the paper.
        """
        if self.kind in ("paper", "blend"):
            return batch_size
        # By pixels, since memory grows with them.
        return max(1, batch_size * WINDOW_AREA // (height * width))

    def batches(
        self, height: int, width: int, batch_size: int | None
    ) -> dict[tuple[int, int], int]:
        """Count, by shape, the windows that a network sees at once; all of a slice's for None."""
        counts = Counter(cut_shape(cut) for cut in self.cuts(height, width))
        if batch_size is None:
            return dict(counts)
        return {
            shape: min(count, self.at_once(*shape, batch_size)) for shape, count in counts.items()
        }


def cut_shape(cut: tuple[Cut, Cut]) -> tuple[int, int]:
    """Compute height and width of what a network sees of a window."""
    rows, columns = cut
    return rows.stop - rows.start, columns.stop - columns.start


def windows_of(model: TrainedModel, kind: str, size: int | None = None) -> Windows:
    """Make windows of a kind that fit a model; tiles of LARGE_TILE where no size is given.

    Raises:
        FibsegError: there is no such kind, or the model does not bear it.
    """
    if kind not in ALL_WINDOWS:
        raise FibsegError(
            f"windows: '{kind}' is not known; expected auto or one of {', '.join(ALL_WINDOWS)}."
        )
    if model.channels.by_patch and kind in ("whole", "tiles"):
        # A shape that the window cuts counts only its inside, so that larger windows show the
        # network other channels than it was trained with.
        raise FibsegError(
            f"windows={kind}: this model was trained with filter.scope=patch; take paper or blend."
        )
    if kind not in model.kind.windows:
        raise FibsegError(
            f"windows={kind}: a {model.architecture} looks further than such windows show it; "
            f"take {' or '.join(model.kind.windows)}."
        )
    sizes = {"whole": 0, "tiles": size or LARGE_TILE}
    network = model.kind.network_class()
    return Windows(kind, sizes.get(kind, model.patch_size), network.halo, network.stride)


def chosen_windows(model: TrainedModel) -> Windows:
    """Read the windows that were chosen when the run was scored; the paper's before that."""
    chosen = model.windows or {"kind": "paper", "size": model.patch_size}
    # A whole slice is stored with size 0.
    return windows_of(model, chosen["kind"], chosen["size"] or None)


def unchecked_windows(kind: Kind) -> dict[str, Any] | None:
    """Give windows that need no comparison with the paper's, as a checkpoint holds them, or None.

    A forest gives a pixel the same label in any window that shows it enough.
    """
    if "paper" in kind.windows:
        return None
    return {"kind": "tiles", "size": LARGE_TILE, "loss": 0.0, "flipped": 0.0, "slices": 0}
