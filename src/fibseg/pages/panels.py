"""Panels of a figure for print: a grid, crops of slices, a scale bar, and the files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from fibseg.arrays import Place, UInt8
from fibseg.errors import FibsegError
from fibseg.files import replacing

_PRINT_DOTS = 300
"""Dots per inch of the PNG."""

PRINT_FONT_SIZE = 7
"""Points, which journals ask for in a figure of one or two columns."""


class Crop(NamedTuple):
    """A square part of a slice: the volume, z, and its first row and column."""

    volume: int
    z: int
    row: int
    column: int

    @property
    def place(self) -> Place:
        """Where the slice lies."""
        return Place(self.volume, self.z)


def cut(picture: UInt8, crop: Crop, side: int) -> UInt8:
    """The square of a picture (H, W, ...) that begins where the crop does.

    Raises:
        FibsegError: it leaves the picture.
    """
    height, width = picture.shape[:2]
    if not (0 <= crop.row <= height - side and 0 <= crop.column <= width - side):
        raise FibsegError(
            f"--crop {crop.row},{crop.column} with --side {side} leaves the slice of "
            f"{height} x {width} pixels."
        )
    return picture[crop.row : crop.row + side, crop.column : crop.column + side]


def panel_grid(rows: int, columns: int, width: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure of square panels over a width in mm, with room for a legend."""
    # Millimetres to inches. The .45 inches below are for the legend.
    inches = width / 25.4
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(inches, rows * inches / columns + 0.45), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in axes]


def show_panel(axes: Axes, picture: UInt8 | None, title: str) -> None:
    """Show a picture without ticks, pixel by pixel; an empty panel for None."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=PRINT_FONT_SIZE)
    if picture is None:
        axes.set_frame_on(False)
    else:
        # "none" leaves the pixels to the PDF; other values would resample them to the dots of the
        # screen.
        axes.imshow(picture, interpolation="none")


def add_scale_bar(axes: Axes, side: int, nanometres: float) -> None:
    """Draw a white bar with its length, which is round and a quarter of the panel at most.

    Args:
        axes: a panel of `side` pixels.
        side: width of the panel, in pixels.
        nanometres: size of a pixel.
    """
    quarter = side * nanometres / 4
    # The longest of 1, 2 and 5 times a power of ten that fits.
    power = 10.0 ** np.floor(np.log10(quarter))
    length = power * max(step for step in (1, 2, 5) if step * power <= quarter)
    # A black edge, so that the bar is visible on bright and on dark.
    edge = withStroke(linewidth=1.5, foreground="black")
    bar = Rectangle(
        (0.05 * side, 0.92 * side),
        width=length / nanometres,
        height=0.02 * side,
        color="white",
        path_effects=[edge],
    )
    axes.add_patch(bar)
    axes.text(
        0.05 * side,
        0.9 * side,
        f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm",
        color="white",
        fontsize=PRINT_FONT_SIZE - 1,
        va="bottom",
        path_effects=[edge],
    )


def write_figure(figure: Figure, name: str) -> list[Path]:
    """Write a figure for print as NAME.pdf and NAME.png; gives both paths."""
    stem = Path(name)
    if stem.suffix.lower() in (".pdf", ".png"):
        stem = stem.with_suffix("")
    # Not with_suffix: a name such as figure.3 has a dot that is no ending.
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in ("pdf", "png")]
    for path in paths:
        # Journals refuse the fonts of type 3 that matplotlib embeds otherwise.
        with replacing(path) as partial, mpl.rc_context({"pdf.fonttype": 42}):
            figure.savefig(partial, dpi=_PRINT_DOTS, format=path.suffix[1:])
    return paths
