"""Charts of a comparison: which there are, and that they draw the numbers of the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibseg.colors import configuration_colors
from fibseg.pages.charts import charts_of, recall_chart
from fibseg.pages.curves import learning_curves, thinned_curve
from fibseg.pages.slice_charts import difference_chart, slice_chart
from fibseg.pages.vega import Chart, short_names
from tests.support.page_runs import make_page_runs
from tests.support.runs import dataset_in, make_grid, make_run, write_config

ADDED_BY_THE_PAGE = {"name", "seed", "full", "configuration", "class"}


def rows(chart: Chart) -> list[dict[str, Any]]:
    """Rows of a chart, without what is empty in them."""
    names = list(chart.columns)
    values = zip(*chart.columns.values(), strict=True)
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in values
    ]


def curves_in(folder: Path) -> list[Chart]:
    return learning_curves([run.metrics for run in dataset_in(folder).runs])


def fields(part: Any) -> Iterator[str]:
    """Every field that a specification names."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "field":
                yield value
            yield from fields(value)
    elif isinstance(part, list):
        for value in part:
            yield from fields(value)


def test_charts_of_runs_that_kept_everything(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=False)
    charts = charts_of(dataset_in(tmp_path))
    assert [chart.title for chart in charts] == [
        "Every run",
        "Learning curves: validation F1",
        "Learning curves: validation loss",
        "Slice by slice",
        "Differences slice by slice",
        "Confusion of classes",
        "Small and large components",
    ]
    for chart in charts:
        # No NaN, which is no JSON.
        json.dumps([chart.columns, chart.specification], allow_nan=False)
        assert set(fields(chart.specification)) <= set(chart.columns) | ADDED_BY_THE_PAGE
        assert len({len(values) for values in chart.columns.values()}) == 1
    assert charts == charts_of(dataset_in(tmp_path))


def test_every_run_has_a_dot_and_every_configuration_its_interval(tmp_path: Path) -> None:
    make_grid(tmp_path, 3)
    dataset = dataset_in(tmp_path)
    drawn = rows(charts_of(dataset)[0])
    for number, run in enumerate(dataset.runs):
        of_run = {row["class"]: row["f1"] for row in drawn if row.get("run") == number}
        expected = [run.f1("test")[name] for name in dataset.foreground]
        assert [of_run[index] for index in range(len(expected))] == pytest.approx(
            expected, abs=1e-4
        )
    for number, runs in enumerate(dataset.configurations.values()):
        scores = [run.f1("test")[dataset.foreground[0]] for run in runs]
        (row,) = [r for r in drawn if r.get("configuration") == number and r["class"] == 0]
        assert row["mean"] == pytest.approx(np.mean(scores), abs=1e-4)
        assert row["low"] <= min(scores) + 1e-4 <= row["mean"] + 2e-4


def test_charts_with_nothing_to_draw_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    dataset = dataset_in(tmp_path)
    for chart in (*curves_in(tmp_path), difference_chart(dataset), recall_chart(dataset)):
        assert chart.is_empty
    titles = [chart.title for chart in charts_of(dataset)]
    assert titles == ["Every run", "Slice by slice", "Confusion of classes"]


def test_metrics_that_are_cut_off_are_passed_over(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.9")
    assert all(chart.is_empty for chart in curves_in(tmp_path))
    (path / "metrics.csv").write_text("epoch,val_loss\n0,1.0\n")
    f1, loss = curves_in(tmp_path)
    assert f1.is_empty and rows(loss) == [{"run": 0, "epoch": 1, "value": 1.0}]


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    metrics = [{"epoch": float(epoch), "val_f1": epoch / 500} for epoch in range(500)]
    curve = thinned_curve(metrics, "val_f1", points=150)
    assert 100 < len(curve) <= 150 and curve[-1] == (500, 499 / 500)
    assert {b - a for (a, _), (b, _) in pairwise(curve)} == {4}
    assert thinned_curve(metrics[:7], "val_f1") == [(k + 1, k / 500) for k in range(7)]
    assert thinned_curve(metrics, "val_loss") == []


def test_training_slices_are_marked_in_one_volume(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5, 0.6])
    assert not any("trained" in row for row in rows(slice_chart(dataset_in(tmp_path))))
    write_config(path, [20.0, 5.0, 5.0])
    dataset = dataset_in(tmp_path)
    facts = dataset.volumes(dataset.runs[0])
    assert facts is not None
    marked = [row["trained"] for row in rows(slice_chart(dataset)) if "trained" in row]
    assert marked == facts.trained_slices[0] and marked


def test_confusions_are_shares_of_the_truth(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    make_run(tmp_path, "forest-off", 0, [0.5], [0.75])
    dataset = dataset_in(tmp_path)
    (chart,) = [chart for chart in charts_of(dataset) if chart.title == "Confusion of classes"]
    number = list(dataset.configurations).index("forest-off")
    drawn = [row for row in rows(chart) if row["configuration"] == number]
    assert sum(row["share"] for row in drawn) == pytest.approx(len(dataset.class_names))
    (hits,) = [
        row["share"] for row in drawn if row["truth"] == row["predicted"] == dataset.foreground[0]
    ]
    assert hits == 0.75


def test_components_of_one_size_make_a_point(tmp_path: Path) -> None:
    """The logarithm of their area is rounded differently for two and for four of them."""
    for seeds, name in ((2, "unet-off"), (3, "unet-on"), (7, "eunet-on")):
        for seed in range(seeds):
            make_run(tmp_path, name, seed, [0.5], [0.5] * 2)
    drawn = rows(recall_chart(dataset_in(tmp_path)))
    assert len(drawn) == 3 and len({row["area"] for row in drawn}) == 1


def test_colors_of_thirty_configurations_differ() -> None:
    assert len(set(configuration_colors(30))) == 30
    assert configuration_colors(30)[:4] == configuration_colors(4)


def test_short_names_keep_what_differs() -> None:
    names = ["unet-off-quick-lr_1e-4", "unet-off-quick-lr_1e-3"]
    assert short_names(names) == ["lr_1e-4", "lr_1e-3"]
    # One would be left without a name.
    assert short_names(["unet-off", "unet-off-quick"]) == ["unet-off", "unet-off-quick"]
    assert short_names([]) == []
