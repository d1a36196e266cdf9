"""Charts of the scores of a data set: every run, learning curves, confusions, recall by size."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fibseg.arrays import Floats
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import t_interval
from fibseg.pages.few_slices import few_slices_chart
from fibseg.pages.slice_charts import difference_chart, slice_chart
from fibseg.pages.svg import (
    CHART_GREY,
    CHART_STYLE,
    add_legend,
    chart_row,
    configuration_color,
    svg_text,
)
from fibseg.runs.components import components_of
from fibseg.runs.finished import FinishedRun

_CURVES = {"val_f1": "validation F1", "val_loss": "validation loss"}
"""Column of metrics.csv -> title of its chart."""

_MATRICES_IN_ROW = 5

_AREA_BINS = 6
"""Bins of area, equal on a logarithmic axis."""


def charts_of(dataset: Dataset) -> dict[str, str]:
    """Title -> SVG of each chart of a data set that has something to draw."""
    charts = {
        "Every run": run_chart(dataset),
        "Annotated slices": few_slices_chart(dataset),
        "Learning curves": learning_curves(dataset),
        "Slice by slice": slice_chart(dataset),
        "Differences slice by slice": difference_chart(dataset),
        "Confusion of classes": confusion_chart(dataset),
        "Small and large components": recall_chart(dataset),
    }
    return {title: chart for title, chart in charts.items() if chart}


def run_chart(dataset: Dataset) -> str:
    """Test F1 of every run, a dot for each seed, with mean and 95 % interval over seeds."""
    groups = dataset.configurations
    with mpl.rc_context(CHART_STYLE):
        # A row of dots needs .45 inches, the axis and the title 1.2.
        figure, charts = chart_row(len(dataset.foreground), 1.2 + 0.45 * len(groups))
        for axes, name in zip(charts, dataset.foreground, strict=True):
            for number, runs in enumerate(groups.values()):
                _draw_runs(axes, number, [run.f1("test")[name] for run in runs])
            # The charts stand side by side: names at the first one serve all rows.
            labels = list(groups) if axes is charts[0] else [""] * len(groups)
            axes.set_yticks(range(len(groups)), labels)
            # The first configuration is the uppermost row, as in the tables.
            axes.invert_yaxis()
            axes.set_title(name)
            axes.set_xlabel("test F1")
        return svg_text(figure, "test F1 of every run by class, with intervals over seeds")


def _draw_runs(axes: Axes, number: int, scores: Sequence[float]) -> None:
    """The runs of one configuration in its row; dots are spread a little to stay apart."""
    # Evenly and not at random: the page has the same bytes each time.
    heights = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
    color = configuration_color(number)
    axes.scatter(scores, number + heights, s=14, color=color, alpha=0.7)
    interval = t_interval(scores)
    ends = [[interval.mean - interval.low], [interval.high - interval.mean]]
    axes.errorbar(
        interval.mean,
        number,
        # A single run has a mean, but no interval.
        xerr=None if np.isnan(ends).any() else ends,
        fmt="|",
        color=CHART_GREY,
        capsize=4,
    )


def learning_curves(dataset: Dataset) -> str:
    """Validation F1 and loss over the epochs: median and range over seeds.

    Empty where no run kept its metrics.
    """
    with mpl.rc_context(CHART_STYLE):
        figure, charts = chart_row(len(_CURVES))
        # An empty chart is left out of the page, not shown empty.
        is_drawn = False
        for number, (label, runs) in enumerate(dataset.configurations.items()):
            # A chart is drawn without the runs that were copied without their metrics.csv.
            histories = [run.metrics for run in runs if run.metrics]
            for axes, (column, title) in zip(charts, _CURVES.items(), strict=True):
                values = _common_epochs(histories, column)
                if values is None:
                    continue
                color = configuration_color(number)
                # Metrics count epochs from 0, people from 1.
                epochs = np.arange(1, values.shape[1] + 1)
                axes.plot(epochs, np.median(values, axis=0), color=color, label=label)
                lowest = values.min(axis=0)
                highest = values.max(axis=0)
                # The range and not an interval: it shows the one seed that failed.
                axes.fill_between(epochs, lowest, highest, color=color, alpha=0.15)
                axes.set_title(title)
                axes.set_xlabel("epoch")
                is_drawn = True
        if not is_drawn:
            return ""
        add_legend(figure, charts[0])
        return svg_text(figure, "learning curves, median and range over seeds")


def _common_epochs(histories: Sequence[list[dict[str, float]]], column: str) -> Floats | None:
    """Values (R, E) of a column over the epochs that all runs have; None without any."""
    # A median over some of the seeds would jump where the shortest metrics.csv ends.
    epochs = min((len(history) for history in histories), default=0)
    if epochs == 0 or any(column not in history[0] for history in histories):
        return None
    return np.array([[row[column] for row in history[:epochs]] for history in histories])


def confusion_chart(dataset: Dataset) -> str:
    """Shares of the true pixels of each class that are predicted as each, over all runs."""
    groups = dataset.configurations
    names = dataset.class_names
    columns = min(_MATRICES_IN_ROW, len(groups))
    # Rounded up.
    rows = -(-len(groups) // _MATRICES_IN_ROW)
    with mpl.rc_context(CHART_STYLE):
        figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
        charts = list(np.ravel(figure.subplots(rows, columns)))
        for axes in charts[len(groups) :]:
            axes.set_axis_off()
        for axes, (label, runs) in zip(charts, groups.items(), strict=False):
            # The pixels of all runs are added first, so that every pixel counts alike.
            counts = np.sum([run.confusions["test"].sum(axis=0) for run in runs], axis=0)
            # A class without true pixels has a row of zeros, not of NaN.
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            _draw_matrix(axes, shares, names)
            axes.set_title(label, fontsize=9)
        charts[0].set_ylabel("truth")
        return svg_text(figure, "confusion matrices, rows truth, columns prediction")


def _draw_matrix(axes: Axes, shares: Floats, names: Sequence[str]) -> None:
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(*shares.shape):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{share:.1%}",
            ha="center",
            va="center",
            fontsize=7,
            # Large shares are dark blue.
            color="white" if share > 0.6 else "black",
        )
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)


def recall_chart(dataset: Dataset) -> str:
    """Share of a true component that is found, against its area: mean over runs, in bins of area.

    Empty where no class has two components.
    """
    with mpl.rc_context(CHART_STYLE):
        figure, charts = chart_row(len(dataset.foreground))
        is_drawn = False
        for number, (label, runs) in enumerate(dataset.configurations.items()):
            for axes, name in zip(charts, dataset.foreground, strict=True):
                areas, shares = _true_components(runs, name)
                # One component makes no line.
                if len(areas) < 2:
                    continue
                middles, means = _mean_share_by_area(areas, shares)
                color = configuration_color(number)
                # Areas range over several powers of ten.
                axes.semilogx(middles, means, ".-", color=color, label=label)
                axes.xaxis.set_major_formatter(lambda area, _: f"{area:,.0f}")
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.set_title(name)
                axes.set_xlabel("area of a true component, pixels")
                is_drawn = True
        if not is_drawn:
            return ""
        charts[0].set_ylabel("share that is found")
        add_legend(figure, charts[0])
        return svg_text(figure, "recall against component size")


def _true_components(runs: Sequence[FinishedRun], class_name: str) -> tuple[Floats, Floats]:
    """Areas and found shares of the true components in the test slices, of all runs together."""
    components = [components_of(run.path, "test", class_name) for run in runs]
    areas = np.concatenate([columns.area[columns.of_truth] for columns in components])
    shares = np.concatenate([columns.share[columns.of_truth] for columns in components])
    return areas, shares


def _mean_share_by_area(areas: Floats, shares: Floats) -> tuple[list[float], list[float]]:
    """Geometric mean of the areas and mean of the shares in each bin of area."""
    # The last edge lies above the largest area, which would otherwise have a bin of its own.
    edges = np.unique(np.geomspace(areas.min(), areas.max() + 1, _AREA_BINS + 1))
    bins = np.digitize(areas, edges)
    middles = [_geometric_mean(areas[bins == k]) for k in np.unique(bins)]
    means = [float(shares[bins == k].mean()) for k in np.unique(bins)]
    return middles, means


def _geometric_mean(areas: Floats) -> float:
    # Equal areas give exactly their value: a logarithmic axis whose ends differ by rounding only
    # makes matplotlib warn.
    if areas.min() == areas.max():
        return float(areas[0])
    return float(np.exp(np.log(areas).mean()))
