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
from pathlib import Path
from typing import Any

from fibseg.pages.few_slices import draw_few_slices
from fibseg.scores.learning_curve import extrapolate

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
