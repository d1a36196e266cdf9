"""What is computed from label files: thin classes and 3-D objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibseg.arrays import UInt8
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.labels import (
    LabelMeasures,
    LabelScores,
    read_label_pairs,
    score_labels,
)
from fibseg.comparison.volumes import volume_facts
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import FinishedRun, read_run
from fibseg.scores.components import PAPER_BINS
from fibseg.stack import write_pages
from tests.support.runs import change_scores, dataset_in, make_run, write_config, write_labels

SHAPE = (16, 24)


def line(row: int) -> UInt8:
    """Labels with a line of er, a pixel thin."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[row] = 1
    return labels


@pytest.fixture
def sweep(tmp_path: Path) -> Dataset:
    """Four runs on three slices, the last one without er: lines are moved by `seed` rows."""
    truth = [line(6), line(8), np.zeros(SHAPE, np.uint8)]
    for seed in range(4):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.5] * 3)
        write_labels(path, truth, [line(6 + seed), line(8 + seed), line(3)])
        write_config(path, [20.0, 5.0, 5.0])
    return dataset_in(tmp_path)


def thin_score(dataset: Dataset, seed: int, tolerance: float | None) -> float:
    """Boundary F1 of the first slice of a run."""
    run = dataset.runs[seed]
    measures = LabelMeasures(thin_classes=("er",), tolerance=tolerance)
    scores = score_labels(run, dataset.volumes(run), measures)
    return float(scores.thin["er"][0, 0])


@pytest.mark.slow(seconds=3)
def test_thin_scores_within_two_pixels(sweep: Dataset) -> None:
    """Lines that are moved by 0, 1, 2, 3 rows; scored in worker processes."""
    scores = sweep.label_scores(LabelMeasures(thin_classes=("er",)))
    for run, boundary_f1, cl_dice in zip(sweep.runs, (1, 1, 1, 0), (1, 0, 0, 0), strict=True):
        both = [boundary_f1, cl_dice]
        expected = [both, both, [np.nan, np.nan]]
        np.testing.assert_array_equal(scores[run.path].thin["er"], expected)
        assert scores[run.path].objects == {}


def test_a_tolerance_in_nanometres(sweep: Dataset) -> None:
    assert thin_score(sweep, seed=1, tolerance=5.0) == 1
    assert thin_score(sweep, seed=1, tolerance=4.9) == 0


def test_pixels_that_are_not_square(sweep: Dataset) -> None:
    """Two rows of 10 nm."""
    write_config(sweep.runs[2].path, [20.0, 10.0, 4.0])
    assert thin_score(sweep, seed=2, tolerance=19.0) == 0
    assert thin_score(sweep, seed=2, tolerance=20.0) == 1


def test_runs_without_voxel_sizes_have_a_tolerance_in_pixels_only(sweep: Dataset) -> None:
    (sweep.runs[2].path / "config.yaml").unlink()
    assert thin_score(sweep, seed=2, tolerance=None) == 1
    with pytest.raises(FibsegError, match="no voxel size"):
        thin_score(sweep, seed=2, tolerance=10.0)


def test_voxel_sizes_that_are_no_numbers() -> None:
    volume = {"voxel_size": [20, 5, "small"], "split": {"train": ["0:4"]}}
    assert volume_facts({"data": {"volumes": [volume]}}) is None
    assert volume_facts({"data": {"volumes": [volume | {"voxel_size": [1, 2]}]}}) is None


def test_training_slices_are_those_of_the_fold() -> None:
    volume = {"voxel_size": [20, 5, 5], "split": {"train": ["0:4"], "test": ["4:6"]}}
    facts = volume_facts({"data": {"volumes": [volume], "fold": 2, "folds": 3, "guard": 1}})
    # Slices 4 and 5 are tested, 0 and 1 validate, 2 trains; 3 lies beside a tested one.
    assert facts is not None and facts.trained_slices == [[2]]
    own = volume_facts({"data": {"volumes": [volume], "fold": None, "folds": 3, "guard": 1}})
    assert own is not None and own.trained_slices == [[0, 1, 2, 3]]


def run_with_a_gap(folder: Path) -> FinishedRun:
    """A rod through slices 0 to 2 that is predicted in two of them, and one missed in slice 4.

    Rows that follow each other touch by a corner.
    """
    empty = np.zeros(SHAPE, np.uint8)
    path = make_run(folder, "unet-off", 0, [0.5], [0.5] * 4)
    write_labels(path, [line(6), line(7), line(8), line(8)], [line(6), line(7), empty, empty])

    def leave_out_slice_3(content: dict[str, Any]) -> None:
        content["splits"]["test"][3]["slice"] = 4

    change_scores(path, leave_out_slice_3)
    return read_run(path)


def score_objects(run: FinishedRun, **changes: Any) -> LabelScores:
    return score_labels(run, None, LabelMeasures(object_bins=replace(PAPER_BINS, **changes)))


def test_objects_in_three_dimensions(tmp_path: Path) -> None:
    run = run_with_a_gap(tmp_path)
    counts = score_objects(run).objects["er"]
    assert (counts["tp"], counts["ud"], counts["fn"]) == (0, 1, 1)
    assert (counts["right"], counts["fp"]) == (1, 0)
    assert score_objects(run, high=0.6).objects["er"]["tp"] == 1
    # The rod in slice 4 has 24 voxels.
    assert score_objects(run, smallest=25).objects["er"]["fn"] == 0


def test_labels_of_other_slices(sweep: Dataset) -> None:
    run = sweep.runs[0]
    write_pages(RunDirectory(run.path).labels("test"), [line(6)] * 2)
    with pytest.raises(FibsegError, match="of different slices"):
        read_label_pairs(run)
    write_pages(RunDirectory(run.path).labels("test"), [np.zeros((4, 4), np.uint8)] * 3)
    with pytest.raises(FibsegError, match="of different slices"):
        read_label_pairs(run)


def test_labels_that_are_missing(sweep: Dataset) -> None:
    run = sweep.runs[0]
    RunDirectory(run.path).labels("test").unlink()
    with pytest.raises(FibsegError, match=r"labels/test.tif: missing or damaged"):
        read_label_pairs(run)
    (run.path.parent / "truth" / "d" / "test-labels.tif").unlink()
    with pytest.raises(FibsegError, match=r"test-labels.tif: missing or damaged"):
        read_label_pairs(run)


def test_a_truth_that_is_written_anew_is_read_again(sweep: Dataset) -> None:
    run = sweep.runs[0]
    assert read_label_pairs(run)[0][0][6].all()
    write_pages(run.path.parent / "truth" / "d" / "test-labels.tif", [line(9)] * 3)
    assert read_label_pairs(run)[0][0][9].all()
