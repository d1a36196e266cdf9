"""Colors of classes and configurations, the same in pages and in pictures."""

from __future__ import annotations

import colorsys

_CLASS_COLORS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
"""Tableau's ten colors, which are those of Matplotlib, too."""


def class_color(index: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of a foreground class; colors repeat after ten.

    >>> class_color(1) == class_color(11)
    True
    """
    digits = _CLASS_COLORS[(index - 1) % len(_CLASS_COLORS)]
    red, green, blue = (int(digits[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def configuration_colors(count: int) -> list[str]:
    """Colors of so many configurations, as #rrggbb; those after the tenth are further hues.

    >>> configuration_colors(2)
    ['#1f77b4', '#ff7f0e']
    """
    # Steps of the golden ratio: hues never meet, however many there are.
    further = [
        colorsys.hls_to_rgb(0.618034 * k % 1, (0.35, 0.5, 0.65)[k % 3], 0.6)
        for k in range(max(0, count - len(_CLASS_COLORS)))
    ]
    parts = [[f"{round(255 * part):02x}" for part in color] for color in further]
    return [*_CLASS_COLORS[:count], *("#" + "".join(color) for color in parts)]
