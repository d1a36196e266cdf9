"""The common look of charts, and a chart as SVG text that stands in a page by itself."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CHART_GREY = "#888888"
"""Color of text and frames; a page replaces it by the color of its own text, light or dark."""

CHART_STYLE: Any = {
    "text.color": CHART_GREY,
    "axes.labelcolor": CHART_GREY,
    "axes.edgecolor": CHART_GREY,
    "xtick.color": CHART_GREY,
    "ytick.color": CHART_GREY,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    # A name of a class may hold dollar signs.
    "text.parse_math": False,
    # Text stays text, which can be searched and read aloud.
    "svg.fonttype": "none",
    # The same chart has the same bytes.
    "svg.hashsalt": "fibseg",
    "font.family": "sans-serif",
    "axes.titlesize": 10,
}
"""Settings of matplotlib for charts in a page."""

_NAME_WIDTH = 2.7
"""Inches that a name in a legend takes."""

_CHART_WIDTH = 4.2
"""Inches of one chart in a row of charts."""


def configuration_color(number: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of the configuration of this number; shades after the first ten."""
    # Ten colors that differ well are enough for a grid of the paper, which has four configurations.
    name = "tab10" if number < 10 else "tab20b"
    colors = colormaps[name].colors  # type: ignore[attr-defined]
    red, green, blue = colors[number % len(colors)]
    return red, green, blue


def chart_row(count: int, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of some charts side by side; `height` is in inches."""
    # Not pyplot, which keeps every figure until it is closed.
    figure = Figure(figsize=(_CHART_WIDTH * count, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, count)))


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one chart below all of them, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        # A name of a configuration takes about as much.
        columns = min(4, len(names), max(1, int(figure.get_figwidth() / _NAME_WIDTH)))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8)


def svg_text(figure: Figure, description: str) -> str:
    """The figure as an SVG element; screen readers read the description out."""
    buffer = io.StringIO()
    # Without the date, so that the same chart has the same bytes.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Without the XML header, which may not stand inside HTML.
    text = text[text.index("<svg") :].replace(CHART_GREY, "currentColor")
    # Charts of one page must not share ids, or one takes the clip paths of another.
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    # Ids and the references to them, and nothing else.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>c{digest}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
