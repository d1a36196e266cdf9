"""How few annotated slices are enough: test F1 over the number of training slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from fibseg.comparison.dataset import Dataset, few_slices_curves
from fibseg.comparison.inference import Interval, t_interval
from fibseg.pages.svg import (
    CHART_STYLE,
    add_legend,
    chart_row,
    configuration_color,
    svg_text,
)
from fibseg.scores.learning_curve import Extrapolation, extrapolate

SeedScores = Mapping[int, Sequence[Mapping[str, float]]]
"""Number of training slices -> F1 by class of each seed."""


def few_slices_chart(dataset: Dataset) -> str:
    """Test F1 over the number of annotated training slices: means and 95 % intervals over seeds.

    Empty where no two configurations differ in that number alone.
    """
    curves = few_slices_curves(dataset)
    if not curves:
        return ""
    scores = {
        label: {count: [run.f1("test") for run in runs] for count, runs in curve.items()}
        for label, curve in curves.items()
    }
    return draw_few_slices(scores, dataset.foreground)


def draw_few_slices(curves: Mapping[str, SeedScores], class_names: Sequence[str]) -> str:
    """Draw curves by their names as SVG, a chart for each class."""
    with mpl.rc_context(CHART_STYLE):
        figure, charts = chart_row(len(class_names))
        for axes, name in zip(charts, class_names, strict=True):
            for number, (label, curve) in enumerate(curves.items()):
                intervals = {
                    count: t_interval([f1[name] for f1 in of_seeds])
                    for count, of_seeds in curve.items()
                }
                _draw_curve(axes, number, label, intervals)
                scores = {count: [f1[name] for f1 in of] for count, of in curve.items()}
                _draw_outlook(axes, number, extrapolate(scores))
            counts = sorted({count for curve in curves.values() for count in curve})
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(counts))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([str(count) for count in counts])
            axes.set_title(name)
            axes.set_xlabel("annotated slices")
        charts[0].set_ylabel("test F1")
        add_legend(figure, charts[0])
        return svg_text(figure, "test F1 over the number of annotated slices")


def _draw_curve(axes: Axes, number: int, label: str, intervals: Mapping[int, Interval]) -> None:
    """Draw a curve; its points are moved aside, or intervals would hide each other."""
    places = np.array(list(intervals)) * 1.03 ** (number - 1)
    means = np.array([interval.mean for interval in intervals.values()])
    ends = np.array([[i.mean - i.low, i.high - i.mean] for i in intervals.values()]).T
    axes.errorbar(
        places,
        means,
        # A single run has no interval.
        yerr=np.nan_to_num(ends),
        marker="o",
        markersize=4,
        capsize=3,
        color=configuration_color(number),
        label=label,
    )


def _draw_outlook(axes: Axes, number: int, expected: Extrapolation | None) -> None:
    """Draw what twice as many slices would bring, with the interval of a single training."""
    if expected is None:
        return
    aside = 1.03 ** (number - 1)
    ends = np.array([expected.count, 2 * expected.count]) * aside
    color = configuration_color(number)
    axes.plot(ends, [expected.f1, expected.f1 + expected.gain], linestyle=":", color=color)
    axes.vlines(
        ends[1], expected.f1 + expected.low, expected.f1 + expected.high, colors=[color], alpha=0.4
    )
