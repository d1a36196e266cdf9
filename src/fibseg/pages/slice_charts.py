"""Charts of the test slices along z: scores, and differences between configurations."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from fibseg.arrays import Floats
from fibseg.comparison.dataset import Dataset
from fibseg.pages.svg import (
    CHART_GREY,
    CHART_STYLE,
    add_legend,
    chart_row,
    configuration_color,
    svg_text,
)


def slice_chart(dataset: Dataset) -> str:
    """Test F1 of each slice, mean over the seeds of a configuration; descriptive.

    Each volume has a line.
    """
    lines = {
        # NaN on slices without the class: the line has a gap there.
        label: np.array([run.f1_by_slice("test") for run in runs]).mean(axis=0)
        for label, runs in dataset.configurations.items()
    }
    return _line_charts(dataset, lines, "test F1, mean over seeds", "test F1 of each slice along z")


def difference_chart(dataset: Dataset) -> str:
    """What filter and model add on each slice, mean over seeds; descriptive.

    Empty without a contrast.
    """
    names = dataset.class_names
    lines: dict[str, Floats] = {}
    for contrast in dataset.contrasts:
        # Interactions and named pairs are in the table; more lines could not be told apart.
        if contrast.question in ("filter", "model") and not contrast.is_main_effect:
            # A column per class, the background included, to fit the lines of scores; it stays
            # empty.
            empty = np.full((len(contrast.by_slice), len(names)), np.nan)
            values = lines.setdefault(contrast.name, empty)
            values[:, names.index(contrast.class_name)] = contrast.by_slice
    if not lines:
        return ""
    return _line_charts(
        dataset, lines, "difference of test F1", "differences of each slice along z"
    )


def _line_charts(
    dataset: Dataset, lines: Mapping[str, Floats], quantity: str, description: str
) -> str:
    """A chart for each class with the values (S, K) of each line along the test slices."""
    has_one_volume = len({place.volume for place in dataset.places}) == 1
    with mpl.rc_context(CHART_STYLE):
        figure, charts = chart_row(len(dataset.foreground))
        for index, axes in enumerate(charts, 1):
            for number, (name, values) in enumerate(lines.items()):
                _draw_line(axes, dataset, number, name=name, values=values[:, index])
            axes.set_title(dataset.foreground[index - 1])
            hint = " (ticks below: trained on)" if has_one_volume else ", a line per volume"
            axes.set_xlabel(f"slice{hint}")
            # The z of several volumes overlap, so that ticks would belong to none of them.
            if has_one_volume:
                _mark_training_slices(axes, dataset)
        charts[0].set_ylabel(quantity)
        add_legend(figure, charts[0])
        return svg_text(figure, description)


def _draw_line(axes: Axes, dataset: Dataset, number: int, name: str, values: Floats) -> None:
    """Values (S,) of the test slices, a line for each volume; only the first is in the legend."""
    volumes = sorted({place.volume for place in dataset.places})
    # A line must not lead from one volume to the next.
    for volume in volumes:
        along_z = sorted(
            (place.z, k) for k, place in enumerate(dataset.places) if place.volume == volume
        )
        axes.plot(
            [z for z, _ in along_z],
            [values[k] for _, k in along_z],
            ".-",
            color=configuration_color(number),
            label=name if volume == volumes[0] else None,
        )


def _mark_training_slices(axes: Axes, dataset: Dataset) -> None:
    """Ticks at the lower edge where the networks were trained: slices near them score higher."""
    facts = dataset.volumes(dataset.runs[0])
    trained = facts.trained_slices[dataset.places[0].volume] if facts is not None else []
    # Heights are shares of the chart, so that the ticks stay below whatever the scores are.
    axes.plot(
        trained,
        [0.02] * len(trained),
        "|",
        color=CHART_GREY,
        transform=axes.get_xaxis_transform(),
    )
