"""How few annotated slices are enough: charts of test F1 from what `benchmarks.summary` wrote.

python -m benchmarks.few_slices benchmarks/h100.json --all epfl 40 --folder docs/pictures

Runs whose recipes differ in `data.annotated` alone are a curve, and with `--all` those on all of a
data set's training slices stand at its end. A file few_slices_<data>.svg is written for each data
set, and what twice as many slices would bring is printed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.svg import CHART_STYLE, add_legend, chart_row, configuration_color, svg_text
from fibseg.comparison.inference import Interval, t_interval
from fibseg.scores.learning_curve import Extrapolation, extrapolate

SeedScores = Mapping[int, Sequence[Mapping[str, float]]]
"""Number of training slices -> F1 by class of each seed."""

_Curves = dict[str, dict[int, list[dict[str, float]]]]


def curves_of(summaries: list[dict[str, Any]], counts: dict[str, int]) -> dict[str, _Curves]:
    """Data set -> recipe without its number of slices -> number of slices -> F1 of each seed.

    `counts` are the numbers of all training slices, by data set.
    """
    charts: dict[str, _Curves] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for summary in summaries:
        number = re.search(r"-annotated_(\d+)", summary["recipe"])
        if number:
            recipe = summary["recipe"].replace(number[0], "")
            charts[summary["data"]][recipe][int(number[1])].append(summary["test"])
    for summary in summaries:
        curve = charts[summary["data"]].get(summary["recipe"])
        if curve is not None and summary["data"] in counts:
            curve[counts[summary["data"]]].append(summary["test"])
    return charts


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


def main() -> None:
    """Write the charts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("summary", type=Path)
    parser.add_argument("--all", nargs=2, action="append", default=[], metavar=("DATA", "COUNT"))
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    counts = {data: int(count) for data, count in options.all}
    for data, curves in curves_of(json.loads(options.summary.read_text()), counts).items():
        ordered = {recipe: dict(sorted(curve.items())) for recipe, curve in sorted(curves.items())}
        names = list(next(iter(next(iter(ordered.values())).values()))[0])
        path = options.folder / f"few_slices_{data}.svg"
        path.write_text(draw_few_slices(ordered, names))
        print(path)
        for recipe, curve in ordered.items():
            for name in names:
                scores = {count: [f1[name] for f1 in seeds] for count, seeds in curve.items()}
                expected = extrapolate(scores)
                if expected is not None:
                    print(f"{recipe}, {name}: {expected.text}.")


if __name__ == "__main__":
    main()
