"""Labels of other programs: only what a person changed is taken, and judged slices stay judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.annotation import AnnotationProject, opened_project
from fibseg.annotation.adding import AddRequest, add_labels
from fibseg.data.labels.reviewed import open_reviewed
from fibseg.errors import FibsegError
from fibseg.stack import StackHeader, StackWriter, open_stack
from tests.support.annotation import SHAPE, make_project


@pytest.fixture
def proposed(tmp_path: Path) -> np.ndarray:
    """The labels that a model proposed for every slice of a project in tmp_path / "cell"."""
    folder = make_project(tmp_path)
    labels = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    with opened_project(folder) as project:
        for z in range(SHAPE[0]):
            project.propose(z, labels[z])
    return labels


def write(path: Path, labels: np.ndarray) -> str:
    tifffile.imwrite(path, labels, photometric="minisblack")
    return str(path)


def write_prediction(path: Path, labels: np.ndarray, names: dict[str, str]) -> str:
    """A label stack with the notes that predict.py writes."""
    notes = {"identity": {}, "classes": names}
    header = StackHeader(labels.shape, "uint8", (20.0, 5.0, 5.0), notes)
    with StackWriter(path, header) as writer:
        for page in labels:
            writer.write(page)
    return str(path)


def state_of(project: AnnotationProject) -> dict[int, np.ndarray]:
    """Reviewed slices with their labels."""
    return {z: project.layers.labels(z) for z in project.reviewed_slices()}


def test_corrected_slices_are_found(proposed: np.ndarray, tmp_path: Path) -> None:
    corrected = proposed.copy()
    corrected[3, 10:20, 5:30] = 1
    corrected[8, 0, 0] = (corrected[8, 0, 0] + 1) % 3
    with opened_project(tmp_path / "cell") as project:
        project.update(splits={"train": [1], "validation": [8]})
        added = add_labels(project, AddRequest(write(tmp_path / "corrected.tif", corrected)))
        assert added.slices == [3, 8]
        assert len(added.same) == SHAPE[0] - 2 and not added.empty
        assert added.judging == {8: "validation"}
        taken = state_of(project)
        assert taken.keys() == {3, 8}
        np.testing.assert_array_equal(taken[3], corrected[3])
        assert project.layers.reviewed(8).all()
        # The same file again holds nothing that is new.
        count = project.journal.count
        add_labels(project, AddRequest(str(tmp_path / "corrected.tif")))
        assert project.journal.count == count


def test_named_slices_within_a_region(proposed: np.ndarray, tmp_path: Path) -> None:
    region = open_reviewed({5: [[0, 0, 10, 20]]}, ".", SHAPE, "here")
    path = write(tmp_path / "a.tif", proposed)
    with opened_project(tmp_path / "cell") as project:
        add_labels(project, AddRequest(path, slices=[5], reviewed=region))
        assert project.layers.reviewed(5).sum() == 200
        np.testing.assert_array_equal(project.layers.labels(5)[:10, :20], proposed[5, :10, :20])
        assert not project.layers.labels(5)[10:].any()


def test_labels_of_a_part_by_their_values(tmp_path: Path) -> None:
    """Without proposals, slices that hold a class are taken; values are what the person says."""
    part = np.zeros((4, 20, 30), np.uint8)
    part[1, 2:5, 2:9] = 7
    part[2, 8:9, 3:4] = 255
    path = write(tmp_path / "part.tif", part)
    with opened_project(make_project(tmp_path)) as project:
        with pytest.raises(FibsegError, match=r"value 7 is no class of the project \(1 er, 2 golg"):
            add_labels(project, AddRequest(path, offset=[4, 10, 20]))
        assert project.journal.count == 0
        request = AddRequest(path, offset=[4, 10, 20], values={"golgi": [7]})
        added = add_labels(project, request)
        # A slice of unsure pixels alone holds no class.
        assert (added.slices, added.empty) == ([5], [4, 6, 7])
        expected = np.zeros(SHAPE[1:], np.uint8)
        expected[12:15, 22:29] = 2
        np.testing.assert_array_equal(project.layers.labels(5), expected)
        assert project.layers.reviewed(5).sum() == 20 * 30
        with pytest.raises(FibsegError, match="nucleus is no class of the project"):
            add_labels(project, AddRequest(path, offset=[4, 10, 20], values={"nucleus": [7]}))


def test_a_networks_own_output_is_no_truth(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    # Another order of classes than the project's.
    names = {"0": "background", "1": "golgi", "2": "er"}
    path = write_prediction(tmp_path / "prediction.tif", labels, names)
    with opened_project(make_project(tmp_path)) as project:
        with pytest.raises(FibsegError, match="nothing says which slices a person has corrected"):
            add_labels(project, AddRequest(path))
        assert project.journal.count == 0
        corrected = labels.copy()
        corrected[2, :5] = 1
        new = write_prediction(tmp_path / "corrected.tif", corrected, names)
        # Of the prediction as it was, the classes are those of the file.
        added = add_labels(project, AddRequest(new, against=open_stack(path)))
        assert added.slices == [2]
        np.testing.assert_array_equal(
            project.layers.labels(2), np.array([0, 2, 1], np.uint8)[corrected[2]]
        )
        with pytest.raises(FibsegError, match=r"is of shape \(3, 40, 60\), but the image of"):
            small = open_stack(write(tmp_path / "small.tif", labels[:3]))
            add_labels(project, AddRequest(new, against=small))


def test_an_empty_slice_of_an_older_file_is_no_background(
    proposed: np.ndarray, tmp_path: Path
) -> None:
    """The file was written before slice 6 was proposed; emptied slices are named, or compared."""
    corrected = proposed.copy()
    corrected[6] = 0
    path = write(tmp_path / "older.tif", corrected)
    with opened_project(tmp_path / "cell") as project:
        added = add_labels(project, AddRequest(path))
        assert (added.slices, added.empty) == ([], [6])
        assert project.journal.count == 0
        before = open_stack(write(tmp_path / "before.tif", proposed))
        assert add_labels(project, AddRequest(path, against=before)).slices == [6]
