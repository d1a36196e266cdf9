"""Charts of a comparison: which there are, and what they draw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fibseg.comparison.dataset import Dataset
from fibseg.pages.charts import charts_of, confusion_chart, learning_curves, recall_chart
from fibseg.pages.slice_charts import difference_chart, slice_chart
from fibseg.pages.svg import configuration_color
from tests.support.page_runs import make_page_runs
from tests.support.runs import dataset_in, make_grid, make_run, write_config


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.slow(seconds=3)
def test_charts_of_runs_that_kept_everything(tmp_path: Path) -> None:
    make_page_runs(tmp_path, pictures=False)
    charts = charts_of(dataset_in(tmp_path))
    assert list(charts) == [
        "Every run",
        "Learning curves",
        "Slice by slice",
        "Differences slice by slice",
        "Confusion of classes",
        "Small and large components",
    ]
    for chart in charts.values():
        assert chart.startswith('<svg role="img" aria-label="') and "#888888" not in chart
    assert "&lt;b&gt;er$x$" in texts(charts["Every run"])
    assert charts == charts_of(dataset_in(tmp_path))


def test_charts_with_nothing_to_draw_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    dataset = dataset_in(tmp_path)
    assert learning_curves(dataset) == difference_chart(dataset) == recall_chart(dataset) == ""
    assert list(charts_of(dataset)) == ["Every run", "Slice by slice", "Confusion of classes"]


def test_metrics_that_are_cut_off_are_passed_over(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.9")
    assert learning_curves(dataset_in(tmp_path)) == ""
    (path / "metrics.csv").write_text("epoch,val_loss\n0,1.0\n")
    assert "validation loss" in texts(learning_curves(dataset_in(tmp_path)))


def test_training_slices_are_marked_in_one_volume(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5, 0.6])
    without = slice_chart(dataset_in(tmp_path))
    assert "slice (ticks below: trained on)" in texts(without)
    write_config(path, [20.0, 5.0, 5.0])
    assert slice_chart(dataset_in(tmp_path)) != without


def test_more_configurations_than_a_row_of_matrices_has(tmp_path: Path) -> None:
    make_grid(tmp_path, 1)
    for name in ("forest-off", "forest-on"):
        make_run(tmp_path, name, 0, [0.5], [0.75])
    dataset = dataset_in(tmp_path)
    titles = texts(confusion_chart(dataset))
    assert set(dataset.configurations) <= set(titles)
    assert titles.count("75.0%") == 2
    assert "75.0%" not in texts(confusion_chart(Dataset(dataset.configurations["unet-on"])))


def test_components_of_one_size_have_a_chart_without_a_warning(tmp_path: Path) -> None:
    """The logarithm of their area is rounded differently for two and for four of them."""
    for seeds, name in ((2, "unet-off"), (3, "unet-on"), (7, "eunet-on")):
        for seed in range(seeds):
            make_run(tmp_path, name, seed, [0.5], [0.5] * 2)
    chart = recall_chart(dataset_in(tmp_path))
    assert "share that is found" in texts(chart) and "mathdefault" not in chart


def test_colors_of_thirty_configurations_differ() -> None:
    assert len({configuration_color(number) for number in range(30)}) == 30
