"""How a slice is cut for a prediction: the paper's windows, tiles, overlapping windows; coordinates only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibseg.data.sampling import Ints
from fibseg.errors import FibsegError
from fibseg.models.kinds import ARCHITECTURES
from fibseg.models.trained import TrainedModel

pass


def window_third(size: int) -> int:
    """Stride of the paper's windows and side of the centre that is kept: a third, rounded down (256 -> 85)."""
    return size // 3


def window_starts(length: int, size: int) -> tuple[Ints, tuple[int, int]]:
    """Windows of the paper along one axis of `length` pixels: starts and the mirrored border they need.

    A window covers padded[start : start + size], and padded has `before` and `after` mirrored pixels. Pixels
    [third, 2 * third) of each window are kept and tile the axis without overlap; the last tile may pass its end.

    >>> window_starts(200, 256)
    (array([  0,  85, 170]), (85, 141))
    """
    third = window_third(size)
    starts = np.arange(0, length, third)
    return starts, (third, int(starts[-1]) + size - third - length)


@dataclass(frozen=True)
class Cut:
    """A window along one axis: it sees [start, stop), which may pass both ends, and [first, last) of it are used."""

    start: int
    stop: int
    first: int
    last: int


def paper_cuts(length: int, size: int) -> list[Cut]:
    """`window_starts` in coordinates of the axis itself: each pixel is used once.

    >>> paper_cuts(200, 256)[1:]
    [Cut(start=0, stop=256, first=85, last=170), Cut(start=85, stop=341, first=170, last=200)]
    """
    starts, (before, _) = window_starts(length, size)
    third = window_third(size)
    return [
        Cut(
            int(start) - before,
            int(start) - before + size,
            int(start),
            min(int(start) + third, length),
        )
        for start in starts
    ]


def tile_cuts(length: int, side: int, halo: int, grid: int) -> list[Cut]:
    """Tiles that use `side` pixels each and see `halo` more on both sides, inside the axis; each pixel is used once.

    Args:
        length: of the axis, in pixels.
        side: used pixels of a tile, at most, but for the rounding up to a multiple of `grid`.
        halo: pixels seen around them, rounded up likewise.
        grid: stride of the network's deepest activations: starts are multiples of it, so that every pooling cuts where
            it cuts in the whole slice.

    >>> tile_cuts(120, 64, 16, 16)
    [Cut(start=0, stop=80, first=0, last=64), Cut(start=48, stop=120, first=64, last=120)]
    """
    count = -(-length // side)  # of about one size, so that none is a sliver
    side, halo = (-(-one // grid) * grid for one in (-(-length // count), halo))
    return [
        Cut(
            max(0, first - halo), min(length, first + side + halo), first, min(length, first + side)
        )
        for first in range(0, length, side)
    ]


def blend_cuts(length: int, size: int) -> list[Cut]:
    """Windows of `size` that overlap by half or more, inside the axis, and are used whole; a short axis has one.

    >>> [(cut.first, cut.last) for cut in blend_cuts(100, 64)]
    [(0, 64), (18, 82), (36, 100)]
    """
    if length <= size:
        return [Cut(0, size, 0, length)]
    count = 1 + -(-(length - size) // (size // 2 or 1))
    starts = [round(k * (length - size) / (count - 1)) for k in range(count)]
    return [Cut(start, start + size, start, start + size) for start in starts]


def blend_weights(size: int) -> NDArray[np.float32]:
    """Gaussian weights (size, size) of a window, largest at its centre and nowhere 0; deviation size / 8.

    As nnU-Net blends its windows (Isensee et al., Nature Methods 2021, doi:10.1038/s41592-020-01008-z).
    """
    distance = (np.arange(size) - (size - 1) / 2) / (size / 8)
    along = np.exp(-0.5 * distance**2)
    return np.maximum(np.outer(along, along), 1e-4).astype(np.float32)


WINDOW_KINDS = ("paper", "whole", "tiles", "blend")
LARGEST_WHOLE = 2048**2
"""Pixels of a slice that is shown to the network whole; predict.py cuts a larger one into tiles of LARGE."""

LARGE, SMALL = 1024, 512
"""Sides of tiles."""


@dataclass(frozen=True)
class Windows:
    """How a slice is cut.

    Attributes:
        kind: "paper": windows of `size` of which the centre third is used, mirrored at the borders (Meyer et al., ISBI
            2021, section 2.3); "whole": the slice at once; "tiles": large tiles with a halo, each pixel used once;
            "blend": windows of `size` that overlap by half, averaged with Gaussian weights.
        size: side in pixels, of a window, or of what is used of a tile; 0 for "whole".
        halo: pixels that a tile sees around what is used of it.
        grid: of which starts of tiles are multiples.
    """

    kind: str
    size: int
    halo: int
    grid: int

    def __str__(self) -> str:
        return self.kind if self.kind == "whole" else f"{self.kind} {self.size}"

    def cuts(self, height: int, width: int) -> list[tuple[Cut, Cut]]:
        """Rows and columns of every window of a slice."""
        along = [self._along(length) for length in (height, width)]
        return [(rows, columns) for rows in along[0] for columns in along[1]]

    def _along(self, length: int) -> list[Cut]:
        if self.kind == "paper":
            return paper_cuts(length, self.size)
        if self.kind == "blend":
            return blend_cuts(length, self.size)
        if self.kind == "whole":
            return tile_cuts(length, length, 0, 1)
        return tile_cuts(length, self.size, self.halo, self.grid)


def windows_of(model: TrainedModel, kind: str, size: int | None = None) -> Windows:
    """Windows of a kind that fit a model; tiles of LARGE where no size is given.

    Raises:
        FibsegError: no such kind; or the model filters single patches, so that only windows of their size fit.
    """
    if kind not in WINDOW_KINDS:
        raise FibsegError(
            f"windows: '{kind}' is not known; expected auto or one of {', '.join(WINDOW_KINDS)}."
        )
    if model.filter_scope == "patch" and model.areas and kind in ("whole", "tiles"):
        raise FibsegError(
            f"windows={kind}: this model was trained with filter.scope=patch; take paper or blend."
        )
    if model.architecture == "forest" and kind in ("paper", "blend"):
        raise FibsegError(
            f"windows={kind}: a forest looks further than such windows show it; take whole or tiles."
        )
    side = {"whole": 0, "tiles": size or LARGE}.get(kind, model.patch_size)
    network = ARCHITECTURES[model.architecture]
    return Windows(kind, side, network.halo, network.stride)


def chosen_windows(model: TrainedModel) -> Windows:
    """Those that were found good enough when the run was scored; the paper's where that was not asked."""
    found = model.windows or {"kind": "paper", "size": model.patch_size}
    return windows_of(model, found["kind"], found["size"] or None)


def _at_once(windows: Windows, height: int, width: int, batch_size: int) -> int:
    """How many windows of this shape the network sees together."""
    return (
        batch_size
        if windows.kind in ("paper", "blend")
        else max(1, batch_size * 256**2 // (height * width))
    )


def batch_of(
    windows: Windows, height: int, width: int, batch_size: int | None
) -> dict[tuple[int, int], int]:
    """Shapes of a slice's windows -> how many the network sees together, all of a slice for None."""
    counts = Counter(_shape(cut) for cut in windows.cuts(height, width))
    if batch_size is None:
        return dict(counts)
    return {
        shape: min(count, _at_once(windows, *shape, batch_size)) for shape, count in counts.items()
    }


def _shape(cut: tuple[Cut, Cut]) -> tuple[int, int]:
    rows, columns = cut
    return rows.stop - rows.start, columns.stop - columns.start
