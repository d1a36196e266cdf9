"""Charts of the test slices along z: scores, and differences between configurations."""

from __future__ import annotations

from typing import Any

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.dataset import Dataset
from fibseg.pages.vega import (
    BY_CONFIGURATION,
    Chart,
    Specification,
    by_class,
    columns_of,
    quantity,
    tooltip,
    whole_number,
)


def slice_chart(dataset: Dataset) -> Chart:
    """Test F1 of each slice, mean over the seeds of a configuration; descriptive.

    Each volume has a line. Slices that the networks were trained on are marked below, where there
    is one volume: slices near them score higher.
    """
    rows: list[dict[str, Any]] = []
    for number, runs in enumerate(dataset.configurations.values()):
        # NaN on slices without the class: the line has a gap there.
        values = np.array([run.f1_by_slice("test") for run in runs]).mean(axis=0)
        for index in range(len(dataset.foreground)):
            rows += _slice_rows(dataset, index, values[:, index + 1], {"configuration": number})
    trained = _trained_slices(dataset)
    along_z = "slice (ticks below: trained on)" if trained else "slice"
    layers = [_line(along_z, BY_CONFIGURATION, "test F1, mean over seeds", name="full")]
    if trained:
        rows += [
            {"class": index, "trained": z}
            for index in range(len(dataset.foreground))
            for z in trained
        ]
        layers.append(
            {
                "transform": [{"filter": "isValid(datum.trained)"}],
                "mark": {"type": "tick", "orient": "vertical", "size": 8, "color": "currentColor"},
                "encoding": {
                    "x": whole_number("trained", along_z),
                    # Pixels from above, so that the ticks stay below whatever the scores are.
                    "y": {"value": 236},
                    "tooltip": tooltip("trained"),
                },
            }
        )
    return Chart(
        title="Slice by slice",
        description="Test F1 of each slice along z",
        specification=by_class(layers, dataset.foreground, "y"),
        columns=columns_of(rows),
    )


def difference_chart(dataset: Dataset) -> Chart:
    """What filter and model add on each slice, mean over seeds; descriptive.

    Empty without a contrast.
    """
    rows = []
    for contrast in dataset.contrasts:
        # Interactions and named pairs are in the table; more lines could not be told apart.
        if contrast.question in ("filter", "model") and not contrast.is_main_effect:
            index = dataset.foreground.index(contrast.class_name)
            values = np.asarray(contrast.by_slice)
            rows += _slice_rows(dataset, index, values, {"contrast": contrast.name})
    color = {
        "field": "contrast",
        "type": "nominal",
        "title": None,
        "legend": {"orient": "bottom", "columns": 1, "labelLimit": 600},
    }
    return Chart(
        title="Differences slice by slice",
        description="Differences of test F1 on each slice along z",
        specification=by_class(
            [_line("slice", color, "difference of test F1", name="contrast")],
            dataset.foreground,
            "y",
        ),
        columns=columns_of(rows),
    )


def _slice_rows(
    dataset: Dataset, index: int, values: Floats, line: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row for each test slice with its value (S,) of a class, along z within each volume."""
    order = sorted(range(len(dataset.places)), key=lambda k: dataset.places[k])
    return [
        {
            "class": index,
            **line,
            "volume": dataset.places[k].volume,
            "slice": dataset.places[k].z,
            "value": float(values[k]),
        }
        for k in order
    ]


def _line(along_z: str, color: Specification, title: str, name: str) -> Specification:
    """Lines along z, with the titles of both axes; `name` is the field that names the lines."""
    return {
        "transform": [{"filter": "isValid(datum.slice)"}],
        "mark": {"type": "line", "point": {"size": 12}, "strokeWidth": 1.5},
        "encoding": {
            "x": whole_number("slice", along_z),
            "y": quantity("value", title),
            "color": color,
            # A line must not lead from one volume to the next.
            "detail": {"field": "volume"},
            "tooltip": tooltip(name, "volume", "slice", "value"),
        },
    }


def _trained_slices(dataset: Dataset) -> list[int]:
    """Slices that the networks were trained on; none where slices of several volumes overlap."""
    if len({place.volume for place in dataset.places}) > 1:
        return []
    facts = dataset.volumes(dataset.runs[0])
    return list(facts.trained_slices[dataset.places[0].volume]) if facts is not None else []
