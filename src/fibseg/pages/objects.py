"""The page of `fibseg measure`: how the measures of objects are distributed, in one HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fibseg.arrays import Floats
from fibseg.colors import class_color
from fibseg.files import write_whole
from fibseg.pages.assets import asset
from fibseg.scores.bodies.table import ObjectTable

_BINS = 24

_WIDTH = 340
_HEIGHT = 130
_AXIS = 34
"""Sides of a chart in pixels, and the part of its height that the axis takes."""

_LOGARITHMIC = 20.0
"""Largest over smallest value, from which on bins are equal on a logarithmic axis."""

_WITHOUT_CHART = ("object", "class", "touches_border", "rule")


def write_object_page(
    path: Path, title: str, table: ObjectTable, class_names: Sequence[str], notes: Sequence[str]
) -> None:
    """Write a histogram of each measure for each class.

    Args:
        path: the HTML file.
        title: heading of the page.
        table: measures of objects.
        class_names: of the foreground classes, in order.
        notes: sentences above the charts.
    """
    of_class = np.array(table.columns["class"], object)
    parts = []
    for index, name in enumerate(class_names, 1):
        rows = of_class == name
        charts = [
            _histogram(column, np.array(values, float)[rows], index)
            for column, values in table.columns.items()
            # Where an object is says nothing of its shape.
            if column not in _WITHOUT_CHART and not column.startswith("centre_")
        ]
        figures = "".join(charts) or '<p class="note">no object</p>'
        parts.append(f"<h2>{html.escape(name)}: {_count_text(int(rows.sum()))}</h2>{figures}")
    sentences = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    write_whole(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{asset('comparison.css')} figure {{ display: inline-block; vertical-align: top;"
        f" width: {_WIDTH}px; margin: 0 1.5em 1.5em 0; }}"
        " figcaption { font-size: .9em; } text { font-size: 11px; fill: currentColor; }</style>"
        f"<h1>{html.escape(title)}</h1>{sentences}{''.join(parts)}</html>\n",
    )


def _histogram(column: str, values: Floats, class_index: int) -> str:
    """Draw one measure of one class; nothing where no object has it."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    edges, is_logarithmic = _edges(known)
    counts, _ = np.histogram(known, edges)
    width = _WIDTH / len(counts)
    room = _HEIGHT - _AXIS
    color = "#" + "".join(f"{round(255 * part):02x}" for part in class_color(class_index))
    bars = "".join(
        f'<rect x="{k * width + 0.5:.1f}" y="{room - room * count / counts.max():.1f}" '
        f'width="{width - 1:.1f}" height="{room * count / counts.max():.1f}" fill="{color}">'
        f"<title>{edges[k]:.4g} to {edges[k + 1]:.4g}: {count}</title></rect>"
        for k, count in enumerate(counts.tolist())
    )
    middle = len(edges) // 2
    marks = [(0.0, "start", edges[0]), (middle * width, "middle", edges[middle])]
    marks.append((float(_WIDTH), "end", edges[-1]))
    if len(counts) == 1:
        marks = [(_WIDTH / 2, "middle", known[0])]
    ticks = "".join(
        f'<text x="{place:.0f}" y="{room + 14}" text-anchor="{anchor}">{edge:.3g}</text>'
        for place, anchor, edge in marks
    )
    scale = ", logarithmic" if is_logarithmic else ""
    name = column.replace("_", " ").replace(" um3", ", µm³").replace(" um2", ", µm²")
    caption = (
        f"{name.replace(' nm', ', nm')}{scale}: median {np.median(known):.4g}, "
        f"mean {known.mean():.4g}, {_count_text(len(known))}"
    )
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{html.escape(caption)}">{bars}'
        f'<line x1="0" x2="{_WIDTH}" y1="{room}" y2="{room}" stroke="currentColor"/>{ticks}</svg>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _count_text(count: int) -> str:
    return f"{count} {'object' if count == 1 else 'objects'}"


def _edges(values: Floats) -> tuple[Floats, bool]:
    """Choose the edges of bins, and whether they are equal on a logarithmic axis."""
    low = float(values.min())
    high = float(values.max())
    if low == high:
        # A bin must have a width.
        return np.array([low - 0.5, low + 0.5]), False
    if low > 0 and high / low > _LOGARITHMIC:
        edges = np.geomspace(low, high, _BINS + 1)
        # Rounding must not put the outer values outside.
        edges[[0, -1]] = low, high
        return edges, True
    return np.linspace(low, high, _BINS + 1), False
