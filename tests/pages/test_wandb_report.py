"""The report on W&B, as far as it goes without an account: its parts, and mistakes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fibseg.comparison.report import ComparisonOptions, Report, report_on
from fibseg.errors import FibsegError
from fibseg.pages.wandb_report import save_wandb_report, wandb_report
from tests.support.runs import dataset_in, make_grid

# W&B's package uses what its own dependency deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def reports(tmp_path: Path) -> list[Report]:
    make_grid(tmp_path, 2)
    return [report_on(dataset_in(tmp_path), ComparisonOptions())]


def test_it_has_the_sentences_and_a_panel_for_each_question(reports: list[Report]) -> None:
    wr = pytest.importorskip("wandb_workspaces.reports.v2")
    made = wandb_report("lab/cells", reports)
    assert (made.entity, made.project) == ("lab", "cells")
    heading, sentences, grid = made.blocks
    assert heading.text == "cell"
    assert [*sentences.items] == reports[0].answers
    (runs,) = grid.runsets
    assert (runs.entity, runs.project, runs.groupby) == ("lab", "cells", ["Group"])
    bars = [panel for panel in grid.panels if isinstance(panel, wr.BarPlot)]
    assert [bar.metrics[0].name for bar in bars] == ["test_f1/er"]
    curves = [panel for panel in grid.panels if isinstance(panel, wr.LinePlot)]
    assert [curve.y for curve in curves] == [["val_f1"], ["val_loss"]]
    (axes,) = (panel for panel in grid.panels if isinstance(panel, wr.ParallelCoordinatesPlot))
    assert [column.metric.name for column in axes.columns] == [
        "model.architecture",
        "filter.areas",
        "training.learning_rate",
        "validation_f1/er",
    ]


def test_folds_of_one_data_set_share_the_runs_of_its_tag(reports: list[Report]) -> None:
    (report,) = reports
    renamed = [replace(run, data=f"{run.data}-fold0of5") for run in report.dataset.runs]
    fold = replace(report, dataset=replace(report.dataset, runs=renamed))
    heading, sentences, grid = wandb_report("lab/cells", [fold, report]).blocks
    assert heading.text == "cell" and "cell" in grid.runsets[0].filters
    assert "fold0of5" not in grid.runsets[0].filters
    assert sentences.items[0].startswith("cell-fold0of5: ")


@pytest.mark.parametrize("place", ["cells", "/cells", "lab/", "a/b/c"])
def test_a_place_that_is_none(place: str, reports: list[Report]) -> None:
    with pytest.raises(FibsegError, match="expected ENTITY/PROJECT"):
        wandb_report(place, reports)


def test_nobody_is_logged_in(
    reports: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(FibsegError) as caught:
        save_wandb_report("lab/cells", reports)
    assert str(caught.value).startswith("--wandb-report lab/cells: W&B did not take it (")
    assert "\n" not in str(caught.value)


def test_without_the_package(reports: list[Report], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(FibsegError, match=r"pip install 'fibseg\[wandb-report\]'"):
        wandb_report("lab/cells", reports)
