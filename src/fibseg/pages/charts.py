"""Charts of the scores of a data set: every run, learning curves, confusions, recall by size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import t_interval
from fibseg.pages.curves import learning_curves
from fibseg.pages.few_slices import few_slices_chart
from fibseg.pages.slice_charts import difference_chart, slice_chart
from fibseg.pages.vega import (
    BY_CONFIGURATION,
    Chart,
    Specification,
    by_class,
    columns_of,
    quantity,
    short_names,
    tooltip,
)
from fibseg.runs.components import components_of
from fibseg.runs.finished import FinishedRun

_AREA_BINS = 6
"""Bins of area, equal on a logarithmic axis."""


def charts_of(dataset: Dataset) -> list[Chart]:
    """Each chart of a data set that has something to draw."""
    charts = [
        run_chart(dataset),
        few_slices_chart(dataset),
        *learning_curves([run.metrics for run in dataset.runs]),
        slice_chart(dataset),
        difference_chart(dataset),
        confusion_chart(dataset),
        recall_chart(dataset),
    ]
    return [chart for chart in charts if not chart.is_empty]


def run_chart(dataset: Dataset) -> Chart:
    """Test F1 of every run, a dot for each seed, with mean and 95 % interval over seeds."""
    specification = by_class(_run_layers(dataset), dataset.foreground, "x")
    specification["spec"]["height"] = {"step": 34}
    return Chart(
        title="Every run",
        description="Test F1 of every run by class, with means and intervals over seeds",
        specification=specification,
        columns=columns_of(_run_rows(dataset)),
    )


def _run_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """A row for each run, and one for the mean of each configuration, class by class."""
    rows: list[dict[str, Any]] = []
    numbers = {run.path: number for number, run in enumerate(dataset.runs)}
    for configuration, runs in enumerate(dataset.configurations.values()):
        # Evenly and not at random: the page has the same bytes each time.
        places = np.linspace(-1, 1, len(runs)) if len(runs) > 1 else np.zeros(1)
        for index, name in enumerate(dataset.foreground):
            scores = [run.f1("test")[name] for run in runs]
            rows += [
                {"class": index, "run": numbers[run.path], "f1": score, "aside": float(place)}
                for run, score, place in zip(runs, scores, places, strict=True)
            ]
            interval = t_interval(scores)
            rows.append(
                {
                    "class": index,
                    "configuration": configuration,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return rows


def _run_layers(dataset: Dataset) -> list[Specification]:
    """Dots of the runs, and rules and ticks of the means."""
    names: dict[str, Any] = {
        "field": "configuration",
        "type": "nominal",
        "title": None,
        # The first configuration is the uppermost row, as in the tables.
        "sort": short_names(list(dataset.configurations)),
        "axis": {"labelLimit": 160},
    }
    aside = {"field": "aside", "type": "quantitative", "scale": {"domain": [-1.6, 1.6]}}
    dots = {
        "transform": [{"filter": "isValid(datum.f1)"}],
        "mark": {"type": "circle", "size": 40, "opacity": 0.75, "cursor": "pointer"},
        "encoding": {
            "x": quantity("f1", "test F1"),
            "y": names,
            "yOffset": aside,
            "color": BY_CONFIGURATION,
            "tooltip": tooltip("name", "seed", "f1"),
        },
    }
    of_means: dict[str, Any] = {"y": names, "tooltip": tooltip("full", "mean", "low", "high")}
    middle = {"yOffset": {"datum": 0, "type": "quantitative"}}
    interval_rule = {
        # A single run has a mean, but no interval.
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "strokeWidth": 1.5, "color": "currentColor"},
        "encoding": {
            "x": quantity("low", "test F1"),
            "x2": {"field": "high"},
            **of_means,
            **middle,
        },
    }
    mean_tick = {
        "transform": [{"filter": "isValid(datum.mean)"}],
        "mark": {"type": "tick", "thickness": 2, "size": 12, "color": "currentColor"},
        "encoding": {"x": quantity("mean", "test F1"), **of_means, **middle},
    }
    return [dots, interval_rule, mean_tick]


def confusion_chart(dataset: Dataset) -> Chart:
    """Shares of the true pixels of each class that are predicted as each, over all runs."""
    layers = _confusion_layers(dataset.class_names)
    return Chart(
        title="Confusion of classes",
        description="Confusion matrices: rows are the truth, columns the prediction",
        specification={
            "facet": {
                "field": "configuration",
                "type": "nominal",
                "sort": short_names(list(dataset.configurations)),
                "title": None,
            },
            "columns": len(dataset.configurations),
            "spec": {"width": {"step": 44}, "height": {"step": 28}, "layer": layers},
        },
        columns=columns_of(_confusion_rows(dataset)),
    )


def _confusion_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """A row for each pair of classes, configuration by configuration."""
    names = dataset.class_names
    rows: list[dict[str, Any]] = []
    for number, runs in enumerate(dataset.configurations.values()):
        # The pixels of all runs are added first, so that every pixel counts alike.
        counts = np.sum([run.confusions["test"].sum(axis=0) for run in runs], axis=0)
        # A class without true pixels has a row of zeros, not of NaN.
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        rows += [
            {
                "configuration": number,
                "truth": names[truth],
                "predicted": names[predicted],
                "share": float(shares[truth, predicted]),
            }
            for truth, predicted in np.ndindex(*shares.shape)
        ]
    return rows


def _confusion_layers(names: Sequence[str]) -> list[Specification]:
    """Squares whose colour is the share, and the shares as numbers on them."""
    cells: dict[str, Any] = {
        "x": {"field": "predicted", "type": "nominal", "sort": names, "title": "predicted"},
        "y": {"field": "truth", "type": "nominal", "sort": names, "title": "truth"},
        "tooltip": tooltip("full", "truth", "predicted", "share"),
    }
    squares = {
        "mark": "rect",
        "encoding": {
            **cells,
            "color": {
                "field": "share",
                "type": "quantitative",
                "scale": {"scheme": "blues", "domain": [0, 1]},
                "legend": None,
            },
        },
    }
    # Large shares are dark blue.
    ink = {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": "black"}
    text = {"field": "share", "type": "quantitative", "format": ".1%"}
    numbers = {
        "mark": {"type": "text", "fontSize": 9},
        "encoding": {**cells, "text": text, "color": ink},
    }
    return [squares, numbers]


def recall_chart(dataset: Dataset) -> Chart:
    """Share of a true component that is found, against its area: mean over runs, in bins of area.

    Empty where no class has two components.
    """
    rows = []
    for number, runs in enumerate(dataset.configurations.values()):
        for index, name in enumerate(dataset.foreground):
            areas, shares = _true_components(runs, name)
            # One component makes no line.
            if len(areas) >= 2:
                rows += [
                    {"class": index, "configuration": number, "area": area, "share": share}
                    for area, share in _mean_share_by_area(areas, shares)
                ]
    line = {
        "mark": {"type": "line", "point": True, "strokeWidth": 1.5},
        "encoding": {
            # Areas range over several powers of ten.
            "x": quantity("area", "area of a true component, pixels", type="log"),
            "y": quantity("share", "share that is detected", domain=[0, 1]),
            "color": BY_CONFIGURATION,
            "tooltip": tooltip("full", "area", "share"),
        },
    }
    return Chart(
        title="Small and large components",
        description="Share of a true component that is detected, against its area",
        specification=by_class([line], dataset.foreground, "x"),
        columns=columns_of(rows),
    )


def _true_components(runs: Sequence[FinishedRun], class_name: str) -> tuple[Floats, Floats]:
    """Areas and shares of the true components in the test slices, of all runs together."""
    components = [components_of(run.path, "test", class_name) for run in runs]
    areas = np.concatenate([columns.area[columns.of_truth] for columns in components])
    shares = np.concatenate([columns.share[columns.of_truth] for columns in components])
    return areas, shares


def _mean_share_by_area(areas: Floats, shares: Floats) -> list[tuple[float, float]]:
    """Geometric mean of the areas and mean of the shares in each bin of area."""
    # The last edge lies above the largest area, which would otherwise have a bin of its own.
    edges = np.unique(np.geomspace(areas.min(), areas.max() + 1, _AREA_BINS + 1))
    bins = np.digitize(areas, edges)
    return [
        (float(np.exp(np.log(areas[bins == k]).mean())), float(shares[bins == k].mean()))
        for k in np.unique(bins)
    ]
