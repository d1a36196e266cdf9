"""Rounds: what is frozen, what goes on, and which model comes next; others train them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fibseg.annotation import AnnotationProject, opened_project
from fibseg.annotation.rounds import (
    begin_round,
    current_model,
    description_of_round,
    rounds_of,
    run_of,
    start_of,
    training_command,
    write_round,
)
from fibseg.config.compose import load_description
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from tests.support.annotation import SHAPE, make_project, new_project


def review(project: AnnotationProject, z: int, values: tuple[int, ...], rows: int = 40) -> None:
    """Paint a random slice with these values, and review its first rows."""
    labels = np.random.default_rng(z).choice(values, SHAPE[1:]).astype(np.uint8)
    reviewed = np.zeros(SHAPE[1:], bool)
    reviewed[:rows] = True
    project.paint(z, labels, reviewed)


def make_run(folder: Path, name: str, finished: bool) -> Path:
    """What a run directory is known by."""
    run = folder / "runs" / "cell" / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    if finished:
        (run / "scores.json").write_text("{}")
    return run


def test_a_round_is_a_data_set(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 1, 2, 255), rows=25)
        review(project, 8, (0, 1, 2))
        entry = begin_round(project)
        # What is painted later has no part in it.
        review(project, 2, (1,))
        review(project, 5, (1, 2))
    path = tmp_path / "cell" / "rounds" / "001" / "data" / "annotated.yaml"
    slices = load_slices(load_description(str(path)))
    assert [entry.z for entry in slices["train"]] == [2]
    assert [entry.z for entry in slices["validation"]] == [8]
    expected = np.random.default_rng(2).choice((0, 1, 2, 255), SHAPE[1:])
    expected[25:] = 255
    np.testing.assert_array_equal(slices["train"][0].labels, expected)
    assert entry.classes == {"er": 1, "golgi": 2}
    (read,) = rounds_of(tmp_path / "cell")
    assert read == entry


def test_a_class_that_no_training_slice_shows_is_ignored(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 2))
        review(project, 8, (0, 1, 2))
        project.update(splits={"train": [2], "validation": [8]})
        entry = begin_round(project)
        assert entry.classes == {"golgi": 2}
        slices = load_slices(description_of_round(project, entry))
        truth = np.random.default_rng(8).choice((0, 1, 2), SHAPE[1:])
        expected = np.array([0, 255, 1])[truth]
        np.testing.assert_array_equal(slices["validation"][0].labels, expected)
        # The round stays what it was when the project gets another class.
        project.add_classes(["nucleus"])
        assert list(description_of_round(project, entry).classes) == ["golgi"]


def test_a_stopped_round_goes_on_unless_something_is_painted(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 1))
        review(project, 8, (0, 1))
        first = begin_round(project)
        assert begin_round(project) == first
        review(project, 5, (0, 1))
        second = begin_round(project)
        assert (second.number, second.slices["train"]) == (2, [2, 5])


def test_the_next_round_starts_from_the_last_good_model(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 1))
        review(project, 8, (0, 1))
        assert current_model(project) is None
        entry = begin_round(project)
        assert "experiment=quick" in training_command(project.folder, entry)
        folder = project.folder / "rounds" / "001"
        make_run(folder, "a-broken", finished=False)
        run = make_run(folder, "b", finished=True)
        make_run(folder, "c-stopped", finished=False)
        assert run_of(project.folder, entry) == run
        write_round(project.folder, replace(entry, state="kept"))
        assert current_model(project) == run
        write_round(project.folder, replace(entry, number=2, start="rounds/001/runs/cell/b"))
        aside = replace(entry, number=2, state="aside")
        write_round(project.folder, aside)
        assert current_model(project) == run
        project.update(model=str(tmp_path / "mine"))
        assert current_model(project) == run


def test_a_project_that_moves_with_its_rounds(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 1))
        review(project, 8, (0, 1))
        entry = begin_round(project)
        make_run(project.folder / "rounds" / "001", "b", finished=True)
        write_round(project.folder, replace(entry, state="kept"))
        started = replace(entry, number=2, start="rounds/001/runs/cell/b")
        shutil.copytree(project.folder / "rounds" / "001", project.folder / "rounds" / "002")
        write_round(project.folder, started)
    moved = (tmp_path / "cell").rename(tmp_path / "another, with (signs)")
    with opened_project(moved) as project:
        entry = begin_round(project)
        assert entry.number == 2
        assert start_of(moved, entry) == moved / "rounds/001/runs/cell/b"
        path = moved / "rounds" / "002" / "data" / "annotated.yaml"
        assert load_description(str(path)).root == str(moved / "rounds" / "002")
        (word,) = (w for w in training_command(moved, entry) if w.startswith("init_from="))
        assert word == f"init_from={moved / 'rounds/001/runs/cell/b'}"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [2], "validation": [11]}, r"reviewed any more in the slices for validation"),
        ({"train": [11], "validation": [2, 8]}, r"reviewed any more in the slices for train"),
    ],
)
def test_regions_that_were_taken_back(
    splits: dict[str, list[int]], message: str, tmp_path: Path
) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0, 1))
        if "2, 8" in str(splits):
            review(project, 8, (0, 1))
        project.update(splits=splits)
        with pytest.raises(FibsegError, match=message):
            begin_round(project)


def test_slices_without_a_class(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        review(project, 2, (0,))
        review(project, 8, (0,))
        with pytest.raises(FibsegError, match="no class is painted in the training slices"):
            begin_round(project)
        assert rounds_of(project.folder) == []


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    (folder / "rounds" / "001").mkdir(parents=True)
    (folder / "rounds" / "001" / "round.yaml").write_text("number: 1\n")
    with pytest.raises(FibsegError, match=r"round.yaml: damaged; put it back from a copy"):
        rounds_of(folder)
