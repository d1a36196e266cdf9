"""Charts as Vega-Lite specifications, which a page draws, filters and zooms by itself."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fibseg.colors import configuration_colors
from fibseg.pages.assets import embedded_json
from fibseg.runs.identity import name_words

Specification = dict[str, Any]
"""A chart in the terms of Vega-Lite 6, without data and width."""


@dataclass(frozen=True)
class Chart:
    """One chart of a data set.

    Attributes:
        title: heading in the page.
        description: what screen readers read out.
        specification: what is drawn. The page adds data, width and look.
        columns: name -> values of each row, all of one length. Configurations, classes and runs are
            numbers there, since the page holds each name once.
        logarithmic: channel that a control of the page makes logarithmic, as y; or empty.
    """

    title: str
    description: str
    specification: Specification
    columns: Mapping[str, Sequence[Any]]
    logarithmic: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(len(values) for values in self.columns.values())


class ChartedRun(NamedTuple):
    """A run as charts name it; `configuration` is the number of its configuration."""

    name: str
    seed: int
    configuration: int


def charts_part(
    charts: Sequence[Chart],
    configurations: Sequence[str],
    class_names: Sequence[str],
    runs: Sequence[ChartedRun],
) -> str:
    """Write the places of charts as HTML, with their content for `charts.js`."""
    figures = "".join(
        f'<figure><h3>{html.escape(chart.title)}</h3><div class="chart"></div></figure>'
        for chart in charts
    )
    content = chart_content(charts, configurations, class_names, runs)
    return (
        '<div class="charts"><div class="panel" role="group" aria-label="What the charts show">'
        f'</div>{figures}<script type="application/json">{embedded_json(content)}</script></div>'
    )


def chart_content(
    charts: Sequence[Chart],
    configurations: Sequence[str],
    class_names: Sequence[str],
    runs: Sequence[ChartedRun],
) -> dict[str, Any]:
    """All that `charts.js` needs to draw charts, as JSON can hold it."""
    names = zip(configurations, short_names(configurations), strict=True)
    return {
        "configurations": [{"name": name, "short": short} for name, short in names],
        "colors": configuration_colors(len(configurations)),
        "classes": list(class_names),
        "runs": [run._asdict() for run in runs],
        "charts": [
            {
                "specification": chart.specification,
                "columns": chart.columns,
                "logarithmic": chart.logarithmic,
                "description": chart.description,
            }
            for chart in charts
        ],
    }


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, with floats to four digits: a page holds thousands of them.

    >>> columns_of([{"class": 0, "f1": 0.123456}, {"class": 1}])
    {'class': [0, 1], 'f1': [0.1235, None]}
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_brief(row.get(name)) for row in rows] for name in names}


def _brief(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # JSON has no word for it, and Vega leaves a gap at null.
    return round(value, 4) if value - value == 0 else None


def by_class(
    layers: Sequence[Specification], class_names: Sequence[str], independent: str
) -> Specification:
    """Layers over each other, in a chart for each class; each has its own axis x or y."""
    return {
        "facet": {"field": "class", "type": "nominal", "sort": list(class_names), "title": None},
        "columns": len(class_names),
        "spec": {"height": 240, "layer": list(layers)},
        "resolve": {"scale": {independent: "independent"}},
    }


def quantity(field: str, title: str, **scale: Any) -> Specification:
    """A number on an axis that needs not begin at 0."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, **scale},
    }


def whole_number(field: str, title: str) -> Specification:
    """A number on an axis with ticks at whole numbers only."""
    return {**quantity(field, title), "axis": {"tickMinStep": 1, "format": "d"}}


def tooltip(*fields: str) -> list[Specification]:
    """What hovering over a mark tells, a line for each field."""
    return [{"field": field} for field in fields]


BY_CONFIGURATION: Specification = {"field": "configuration", "type": "nominal", "legend": None}
"""Color of a mark; the page has the legend, whose entries hide a configuration."""


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the words that all of them share.

    >>> short_names(["unet-on-quick", "eunet-off-quick"])
    ['unet-on', 'eunet-off']
    >>> short_names(["unet-on-quick"])
    ['unet-on-quick']
    """
    words = [name_words(name) for name in names]
    shared = set.intersection(*map(set, words)) if len(names) > 1 else set()
    short = ["-".join(word for word in of_name if word not in shared) for of_name in words]
    # Names of which nothing is left, or which became equal, stay as they are.
    return short if all(short) and len(set(short)) == len(names) else list(names)
