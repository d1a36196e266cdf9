"""Tables of components and objects, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fibseg.arrays import Place
from fibseg.comparison.detection_tables import (
    expert_components_table,
    instance_table,
    object_table,
    strata_table,
    table_2,
)
from fibseg.comparison.labels import LabelMeasures
from fibseg.scores.components import PAPER_BINS
from fibseg.scores.instances import score_objects
from tests.support.runs import (
    add_components,
    add_second_expert,
    change_scores,
    dataset_in,
    make_run,
    write_labels,
)


def test_the_best_run_and_the_range_over_runs(tmp_path: Path) -> None:
    """A component of 10,000 pixels on each slice is detected above F1 .80: on none, one or both."""
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.81, 0.90), (0.6, 0.82, 0.92), (0.4, 0.70, 0.80))
    ):
        make_run(tmp_path, "unet-off", seed, [validation], [first, second])
        make_run(tmp_path, "unet-on", seed, [validation], [0.80 + seed / 100, second])
    assert table_2(dataset_in(tmp_path)).csv().splitlines() == [
        "run,class (components),TP,FN,UD,right,false,partly,merges,splits",
        '"unet-off, seed 1",er (2),100.0% (2; 0 to 2),0.0% (0; 0 to 0),0.0% (0; 0 to 2),2,0,0,0,0',
        '"unet-on, seed 1",er (2),100.0% (2; 1 to 2),0.0% (0; 0 to 0),0.0% (0; 0 to 1),2,0,0,0,0',
    ]


def test_components_by_area(tmp_path: Path) -> None:
    """The component of `make_run` has 10,000 pixels, of which half are predicted."""
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    dataset = dataset_in(tmp_path)
    add_components(path, ("test", "truth", 9, 9, 1), ("test", "truth", 10, 0, 0))
    table = strata_table(dataset, [10, 100], PAPER_BINS)
    assert [row[:4] for row in table.rows] == [
        ["unet-off, seed 0", "er", "1 to 9 (1)", "100.0% (1; 1 to 1)"],
        ["unet-off, seed 0", "er", "10 to 99 (1)", "0.0% (0; 0 to 0)"],
        ["unet-off, seed 0", "er", "100 or more (1)", "0.0% (0; 0 to 0)"],
    ]


def test_the_second_expert_in_place_of_a_prediction(tmp_path: Path) -> None:
    """The second expert has half of a line; the run has all of it."""
    truth = np.zeros((16, 24), np.uint8)
    truth[8] = 1
    path = make_run(tmp_path, "unet-off", 0, [0.5], [1.0])
    write_labels(path, [truth], [truth])
    assert expert_components_table(dataset_in(tmp_path), PAPER_BINS) is None
    half = truth.copy()
    half[:, 12:] = 0
    add_second_expert(tmp_path, {0: half})
    table = expert_components_table(dataset_in(tmp_path), PAPER_BINS)
    assert table is not None
    expert, run = table.rows
    assert expert[:2] == ["second expert", "er (1)"]
    assert expert[2:5] == ["0.0% (0; 0 to 0)", "0.0% (0; 0 to 0)", "100.0% (1; 1 to 1)"]
    assert run[:3] == ["unet-off, seed 0", "er (1)", "100.0% (1; 1 to 1)"]


def test_scores_of_objects_pooled_over_slices_and_runs(tmp_path: Path) -> None:
    """Two slices with two objects each; the first run finds all of them, the second one half."""
    make_run(tmp_path, "unet-on", 0, [0.5], [0.5] * 2)
    assert instance_table(dataset_in(tmp_path)) is None
    whole = [np.array([[1, 1, 0, 2, 2]])] * 2
    places = [Place(0, 0), Place(0, 1)]
    for seed, predicted in ((0, whole), (1, [whole[0] * (whole[0] == 1)] * 2)):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.5] * 2)
        matches = score_objects(places, {"er": whole}, {"er": predicted})
        change_scores(path, lambda scores, test=matches: scores.update(instances={"test": test}))
    table = instance_table(dataset_in(tmp_path))
    assert table is not None
    flat, solid = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (flat["run"], flat["class (objects)"], flat[""]) == ("unet-off", "er (4)", "2-D")
    assert (solid["class (objects)"], solid[""]) == ("er (2)", "3-D")
    for row in (flat, solid):
        assert row["precision .5"] == "1.000 ± 0.000"
        assert row["recall .5"] == row["SA50"] == row["mSA"] == "0.750 ± 0.354"
        assert row["F1 .75"] == row["PQ .5"] == "0.833 ± 0.236"
        assert row["VOI split"] == row["VOI merge"] == "0.000 ± 0.000"


def test_objects_through_consecutive_slices(tmp_path: Path) -> None:
    truth = [np.zeros((16, 24), np.uint8) for _ in range(2)]
    for labels in truth:
        labels[8] = 1
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5] * 2)
    write_labels(path, truth, truth)
    dataset = dataset_in(tmp_path)
    scores = dataset.label_scores(LabelMeasures(object_bins=PAPER_BINS))
    (row,) = object_table(dataset, scores, PAPER_BINS).rows
    assert row[:3] == ["unet-off, seed 0", "er (1)", "100.0% (1; 1 to 1)"]
