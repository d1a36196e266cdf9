"""Learning curves of runs; without NumPy, since `fibseg watch` draws them, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from fibseg.pages.vega import (
    BY_CONFIGURATION,
    Chart,
    columns_of,
    quantity,
    tooltip,
    whole_number,
)

Row = TypeVar("Row")

_CURVES = {"val_f1": "validation F1", "val_loss": "validation loss"}
"""Column of metrics.csv -> title of its axis."""

POINTS_OF_CURVE = 150
"""Epochs of a learning curve at most; 120 runs of 500 epochs would make a page of 5 MB."""


def learning_curves(metrics: Sequence[Sequence[Mapping[str, float]]]) -> list[Chart]:
    """Validation F1 and loss of each run over the epochs.

    Args:
        metrics: rows of the metrics.csv of each run. A chart is empty where no run has any.
    """
    charts = []
    for column, title in _CURVES.items():
        rows = [
            {"run": number, "epoch": epoch, "value": value}
            for number, of_run in enumerate(metrics)
            for epoch, value in thinned_curve(of_run, column)
        ]
        line = {
            "mark": {"type": "line", "strokeWidth": 1.2, "opacity": 0.6, "cursor": "pointer"},
            "encoding": {
                "x": whole_number("epoch", "epoch"),
                "y": quantity("value", title),
                "color": BY_CONFIGURATION,
                "detail": {"field": "name"},
                "tooltip": tooltip("name", "seed"),
            },
        }
        charts.append(
            Chart(
                title=f"Learning curves: {title}",
                description=f"{title} of each run over its epochs",
                specification={"height": 260, "layer": [line]},
                columns=columns_of(rows),
                logarithmic="y" if column == "val_loss" else "",
            )
        )
    return charts


def thinned_curve(
    metrics: Sequence[Mapping[str, float]], column: str, points: int = POINTS_OF_CURVE
) -> list[tuple[int, float]]:
    """Epochs, counted from 1, and values of a column; so many points at most, the last among them.

    Epochs without the column are passed over.
    """
    # Metrics count epochs from 0, people from 1.
    curve = [(int(row["epoch"]) + 1, row[column]) for row in metrics if column in row]
    return thinned(curve, points)


def thinned(rows: Sequence[Row], points: int = POINTS_OF_CURVE) -> list[Row]:
    """Evenly so many rows at most, the last among them."""
    step = max(1, -(-len(rows) // points))
    # Backwards, so that the last one stays.
    return list(rows[::-1][::step][::-1])
