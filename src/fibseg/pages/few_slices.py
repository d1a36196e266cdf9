"""How few annotated slices are enough: test F1 over the number of training slices."""

from __future__ import annotations

from typing import Any

from fibseg.comparison.dataset import Dataset, few_slices_curves
from fibseg.comparison.inference import t_interval
from fibseg.pages.vega import Chart, by_class, columns_of, quantity, tooltip
from fibseg.scores.learning_curve import extrapolate


def few_slices_chart(dataset: Dataset) -> Chart:
    """Test F1 over the number of annotated training slices: means and 95 % intervals over seeds.

    A dotted line leads to what twice as many slices would bring. Empty where no two configurations
    differ in that number alone.
    """
    shared: dict[str, Any] = {
        "x": quantity("slices", "annotated slices", type="log"),
        "color": {"field": "curve", "type": "nominal", "title": None},
        "tooltip": tooltip("curve", "slices", "mean", "expected", "low", "high"),
    }
    layers = [
        _layer(
            "mean", {"type": "line", "point": True}, {**shared, "y": quantity("mean", "test F1")}
        ),
        _layer(
            "low",
            {"type": "rule", "opacity": 0.5},
            {**shared, "y": quantity("low", "test F1"), "y2": {"field": "high"}},
        ),
        _layer(
            "expected",
            {"type": "line", "strokeDash": [2, 3]},
            {**shared, "y": quantity("expected", "test F1")},
        ),
    ]
    return Chart(
        title="Annotated slices",
        description="Test F1 over the number of annotated slices",
        specification=by_class(layers, dataset.foreground, "y"),
        columns=columns_of(_curve_rows(dataset)),
    )


def _curve_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Means with intervals of each number of slices, and the two ends of each outlook."""
    rows: list[dict[str, Any]] = []
    for label, curve in few_slices_curves(dataset).items():
        for index, name in enumerate(dataset.foreground):
            scores = {
                count: [run.f1("test")[name] for run in runs] for count, runs in curve.items()
            }
            for count, f1 in scores.items():
                interval = t_interval(f1)
                ends = {"low": interval.low, "high": interval.high}
                rows.append(
                    {"class": index, "curve": label, "slices": count, "mean": interval.mean, **ends}
                )
            expected = extrapolate(scores)
            if expected is not None:
                outlook = {"class": index, "curve": label, "slices": 2 * expected.count}
                rows.append({**outlook, "slices": expected.count, "expected": expected.f1})
                rows.append({**outlook, "expected": expected.f1 + expected.gain})
                low, high = (expected.f1 + end for end in (expected.low, expected.high))
                rows.append({**outlook, "low": low, "high": high})
    return rows


def _layer(field: str, mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    """Draw the rows that have this field."""
    return {
        "transform": [{"filter": f"isValid(datum.{field})"}],
        "mark": mark,
        "encoding": encoding,
    }
