"""Chart and table of what `benchmarks.evening` wrote: F1 after each round.

python -m benchmarks.evening_chart benchmarks/evening_epfl.json --output evening.svg

Two half slices are painted in a round, so that round k has seen as many pixels as k slices have.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl

from benchmarks.svg import CHART_STYLE, add_legend, chart_row, configuration_color, svg_text

_Scores = dict[int, list[dict[str, float]]]


def curves_of(rows: list[dict[str, Any]]) -> dict[str, _Scores]:
    """Way of training -> number of slices -> test F1 of each seed."""
    curves: dict[str, _Scores] = {
        "from the last round": defaultdict(list),
        "from nothing": defaultdict(list),
    }
    for row in rows:
        curves["from the last round"][row["round"]].append(row["test"])
        nothing = row["test"] if row["round"] == 1 else row.get("nothing_test")
        if nothing is not None:
            curves["from nothing"][row["round"]].append(nothing)
    # Means over other seeds than those of the other curve would not compare.
    seeds = len({row["seed"] for row in rows})
    return {
        name: {number: scores for number, scores in sorted(curve.items()) if len(scores) == seeds}
        for name, curve in curves.items()
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A row for each round, as Markdown: the mean over the seeds."""
    lines = [
        "| round | painted | from the last round | minutes | from nothing | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for number in sorted({row["round"] for row in rows}):
        chosen = [row for row in rows if row["round"] == number]
        also = [row for row in chosen if "nothing_test" in row]
        also = also if len(also) == len(chosen) else []
        f1 = mean(mean(row["test"].values()) for row in chosen)
        nothing = mean(mean(row["nothing_test"].values()) for row in also) if also else None
        cells = [
            str(number),
            f"{2 * number} half slices",
            f"{f1:.3f}",
            f"{mean(row['seconds'] for row in chosen) / 60:.1f}",
            "-" if nothing is None else f"{nothing:.3f}",
            f"{mean(row['nothing_seconds'] for row in also) / 60:.1f}" if also else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(curves: dict[str, _Scores], names: list[str]) -> str:
    """Draw the mean over the seeds as a line, and each seed as a dot: three have no interval."""
    with mpl.rc_context(CHART_STYLE):
        figure, charts = chart_row(len(names))
        for axes, name in zip(charts, names, strict=True):
            for number, (label, curve) in enumerate(curves.items()):
                color = configuration_color(number)
                scores = {count: [f1[name] for f1 in seeds] for count, seeds in curve.items()}
                axes.plot(list(scores), list(map(mean, scores.values())), color=color, label=label)
                for count, values in scores.items():
                    axes.plot([count] * len(values), values, "o", markersize=3, color=color)
            axes.set_title(name)
            axes.set_xlabel("painted, in slices")
        charts[0].set_ylabel("test F1")
        add_legend(figure, charts[0])
        return svg_text(figure, "test F1 after each round, continued and from nothing")


def main() -> None:
    """Print the table, and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rows = [row for path in options.rows for row in json.loads(path.read_text())]
    print(table(rows))
    names = list(rows[0]["test"])
    options.output.write_text(draw(curves_of(rows), names))
    print(options.output)


if __name__ == "__main__":
    main()
