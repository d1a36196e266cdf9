"""What is worked out from label files: thin classes, 3-D objects, the slices that were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fibseg.commands.main import main
from fibseg.comparison.labels import labels_of, objects, thin_scores, thin_scores_of, volume_facts
from fibseg.comparison.tables import expert_components, object_table, spread, thin_table
from fibseg.errors import FibsegError
from fibseg.runs.collection import FinishedRun, collect, read_run
from fibseg.runs.directory import RunDirectory
from fibseg.scores.boundaries import boundary_f1, cl_dice
from fibseg.scores.components import PAPER_BINS, Bins
from fibseg.stack import write_pages
from tests.support.runs import make_run, write_config, write_labels

SHAPE = (16, 24)


def line(row: int, stop: int = 24) -> np.ndarray:
    """Labels with a line of er, a pixel thin, up to a column."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[row, :stop] = 1
    return labels


@pytest.fixture
def sweep(tmp_path: Path) -> list[FinishedRun]:
    """Four runs on three slices, the last one without er: lines moved by as many rows as the seed says."""
    truth = [line(6), line(8), np.zeros(SHAPE, np.uint8)]
    for seed in range(4):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.5] * 3)
        write_labels(path, truth, [line(6 + seed), line(8 + seed), line(3)])
        write_config(path, [20.0, 5.0, 5.0])
    return collect([tmp_path]).runs


def test_thin_scores_by_hand(sweep: list[FinishedRun]) -> None:
    """Two pixels unless said; in nm where the voxel size is told; over processes as in one."""
    expected = [
        [1, 1],
        [1, 0],
        [1, 0],
        [0, 0],
    ]  # of lines that are moved by 0, 1, 2, 3 rows: boundary F1, clDice
    found = thin_scores_of(sweep, "er", None)
    for scores, two in zip(found, expected, strict=True):
        assert scores.shape == (3, 2)
        np.testing.assert_array_equal(scores, [two, two, [np.nan, np.nan]])
    assert (
        thin_scores(sweep[1], "er", 5.0)[0, 0] == 1 and thin_scores(sweep[1], "er", 4.9)[0, 0] == 0
    )
    table = thin_table(sweep, ["er"], None, False)
    assert table.rows == [
        ["unet-off", "er", spread([1, 1, 1, 0], False), spread([1, 0, 0, 0], False)]
    ]


def test_pixels_that_are_not_square(sweep: list[FinishedRun]) -> None:
    write_config(sweep[2].path, [20.0, 10.0, 4.0])
    assert (
        thin_scores(sweep[2], "er", 19.0)[0, 0] == 0
        and thin_scores(sweep[2], "er", 20.0)[0, 0] == 1
    )
    (sweep[2].path / "config.yaml").unlink()
    assert volume_facts(sweep[2]) is None
    assert thin_scores(sweep[2], "er", None)[0, 0] == 1
    with pytest.raises(FibsegError, match="no voxel size"):
        thin_scores(sweep[2], "er", 10.0)


def test_the_second_expert_and_every_run_on_that_slice(
    sweep: list[FinishedRun], tmp_path: Path
) -> None:
    folder = tmp_path / "truth" / "d"
    second = line(8, 12)
    for run in sweep:  # the slice of the second expert scores otherwise than the mean
        write_pages(RunDirectory(run.path).labels("test"), [line(12), line(8, 6), line(3)])
    write_pages(folder / "second_expert-labels.tif", [second])
    content = json.loads((folder / "truth.json").read_text())
    content["splits"]["second_expert"] = [{"volume": 0, "slice": 1}]
    (folder / "truth.json").write_text(json.dumps(content))
    table = thin_table(sweep, ["er"], 0.0, False)
    truth = line(8)
    theirs = boundary_f1(truth, second, 1, 0.0, (5, 5)), cl_dice(truth, second, 1)
    assert table.rows[0] == ["second expert", "er", "-", "-", *(f"{one:.3f}" for one in theirs)]
    alone = boundary_f1(truth, line(8, 6), 1, 0.0, (5, 5)), cl_dice(truth, line(8, 6), 1)
    assert table.rows[1][4:] == [spread([one] * 4, False) for one in alone]
    assert table.rows[1][2:4] == [spread([one / 2] * 4, False) for one in alone]
    found = expert_components(sweep, PAPER_BINS)
    assert found is not None
    assert found.rows[0][:5] == [
        "second expert",
        "er (1)",
        "0.0% (0; 0 to 0)",
        "0.0% (0; 0 to 0)",
        "100.0% (1; 1 to 1)",
    ]
    assert found.rows[1][:2] == ["unet-off, seed 0", "er (1)"]


def test_three_dimensional_objects_by_hand(tmp_path: Path) -> None:
    """A rod through slices 0 to 2 that is found in two of them, and one in slice 4 that is not, behind a gap."""
    empty = np.zeros(SHAPE, np.uint8)
    truth = [line(6), line(7), line(8), line(8)]  # rows that follow each other touch by a corner
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5] * 4)
    write_labels(path, truth, [line(6), line(7), empty, empty])
    content = json.loads((path / "scores.json").read_text())
    content["splits"]["test"][3]["slice"] = 4
    (path / "scores.json").write_text(json.dumps(content))
    run = read_run(path)
    found = objects(run, PAPER_BINS)["er"]
    assert (found["tp"], found["ud"], found["fn"], found["right"], found["fp"]) == (0, 1, 1, 1, 0)
    assert objects(run, Bins(0.6, 0.1, 1))["er"]["tp"] == 1
    assert objects(run, Bins(0.8, 0.1, 25))["er"]["fn"] == 0  # the second has 24 voxels
    assert object_table([run], PAPER_BINS).rows[0][1] == "er (2)"


def test_labels_that_are_missing_or_of_other_slices(
    sweep: list[FinishedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pages(RunDirectory(sweep[0].path).labels("test"), [line(6)] * 2)
    with pytest.raises(FibsegError, match="of different slices"):
        labels_of(sweep[0])
    RunDirectory(sweep[0].path).labels("test").unlink()
    assert (
        main(
            [
                "compare",
                str(sweep[0].path.parent),
                "--objects",
                "--output",
                str(sweep[0].path / "out"),
            ]
        )
        == 2
    )
    assert "labels/test.tif: missing or damaged" in capsys.readouterr().err
    assert main(["compare", str(sweep[0].path.parent), "--thin", "golgi"]) == 2
    assert "--thin: golgi; the classes are er" in capsys.readouterr().err


@pytest.mark.usefixtures("sweep")
def test_all_options_at_once_with_a_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--objects",
        "--strata",
        "10,100",
        "--thin",
        "er",
        "--tolerance",
        "10",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(["compare", str(tmp_path / "unet-off-s[01]*"), *options]) == 0
    assert "all 2" in capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "out").glob("*.csv")}
    assert {"objects-cell", "strata-cell", "thin-cell", "table2-cell"} <= names


def test_slices_that_were_trained_on(sweep: list[FinishedRun]) -> None:
    facts = volume_facts(sweep[0])
    assert (
        facts is not None
        and facts.trained == [[0, 2, 9]]
        and facts.voxel_sizes == [(20.0, 5.0, 5.0)]
    )
    (sweep[0].path / "config.yaml").write_text("data: [")
    assert volume_facts(sweep[0]) is None
