"""The table of thin classes against the scores of each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fibseg.arrays import UInt8
from fibseg.comparison.labels import LabelMeasures
from fibseg.comparison.score_tables import mean_and_deviation
from fibseg.comparison.thin_table import thin_table
from fibseg.scores.boundaries import boundary_f1, cl_dice
from tests.support.runs import add_second_expert, dataset_in, make_run, write_config, write_labels

SHAPE = (16, 24)


def line(row: int, stop: int = 24) -> UInt8:
    """Labels with a line of er, a pixel thin, up to a column."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[row, :stop] = 1
    return labels


def make_sweep(folder: Path, predictions: list[list[UInt8]]) -> None:
    """A run for each list of predictions, on two slices."""
    for seed, labels in enumerate(predictions):
        path = make_run(folder, "unet-off", seed, [0.5], [0.5] * 2)
        write_labels(path, [line(6), line(8)], labels)
        write_config(path, [20.0, 5.0, 5.0])


@pytest.mark.slow(seconds=3)
def test_means_over_slices_and_runs(tmp_path: Path) -> None:
    """Both lines are moved by 0, 1, 2, 3 rows, and 2 pixels are near."""
    make_sweep(tmp_path, [[line(6 + seed), line(8 + seed)] for seed in range(4)])
    dataset = dataset_in(tmp_path)
    measures = LabelMeasures(thin_classes=("er",))
    table = thin_table(dataset, dataset.label_scores(measures), measures)
    boundary = mean_and_deviation([1, 1, 1, 0], paper_style=False)
    skeleton = mean_and_deviation([1, 0, 0, 0], paper_style=False)
    assert table.rows == [["unet-off", "er", boundary, skeleton]]
    assert "within 2 pixels" in table.notes[0]


def test_the_second_expert_and_every_run_on_that_slice(tmp_path: Path) -> None:
    """Of the two slices one is missed, and the second expert annotated the other one."""
    half = line(8, stop=6)
    make_sweep(tmp_path, [[line(12), half], [line(12), half]])
    add_second_expert(tmp_path, {1: line(8, stop=12)})
    dataset = dataset_in(tmp_path)
    measures = LabelMeasures(thin_classes=("er",), tolerance=0.0)
    table = thin_table(dataset, dataset.label_scores(measures), measures)

    def scores(labels: UInt8) -> tuple[float, float]:
        boundary = boundary_f1(line(8), labels, 1, tolerance=0.0, spacing=(5, 5))
        return boundary, cl_dice(line(8), labels, 1)

    expert, of_runs = table.rows
    expert_cells = [f"{score:.3f}" for score in scores(line(8, stop=12))]
    assert expert == ["second expert", "er", "-", "-", *expert_cells]
    assert of_runs[:2] == ["unet-off", "er"]
    on_slice = [mean_and_deviation([score] * 2, paper_style=False) for score in scores(half)]
    on_both = [mean_and_deviation([score / 2] * 2, paper_style=False) for score in scores(half)]
    assert of_runs[2:] == [*on_both, *on_slice]
    assert table.columns[4:] == ["boundary F1, expert's slices", "clDice, expert's slices"]
    assert "within 0 nm" in table.notes[0]
