"""A project on the disk: what is painted is kept, with its history, whatever happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from fibseg.annotation import AnnotationProject, create_project, opened_project
from fibseg.errors import FibsegError
from fibseg.files import DiskFullError
from fibseg.stack import open_stack, write_stack
from tests.support.annotation import SHAPE, make_project, new_project, stroke


def pixels_of(project: AnnotationProject) -> np.ndarray:
    """Labels and reviewed masks of all slices."""
    rows = (slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    return np.stack([project.layers.box(z, *rows) for z in range(SHAPE[0])])


def painted(project: AnnotationProject, count: int, seed: int = 0) -> list[np.ndarray]:
    """Paint so many strokes; gives the pixels after each, and those before the first."""
    generator = np.random.default_rng(seed)
    states = [pixels_of(project)]
    for _ in range(count):
        z = int(generator.integers(SHAPE[0]))
        labels, reviewed = stroke(int(generator.integers(1, 3)), generator)
        labels = np.maximum(labels, project.layers.labels(z))
        assert project.paint(z, labels, reviewed | project.layers.reviewed(z))
        states.append(pixels_of(project))
    return states


def test_what_is_painted_is_there_again(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        states = painted(project, 5)
        reviewed = project.reviewed_slices()
    with opened_project(tmp_path / "cell") as project:
        np.testing.assert_array_equal(pixels_of(project), states[-1])
        assert project.reviewed_slices() == reviewed
        assert [heading.what for heading in project.journal.headings()] == ["paint"] * 5
    # The layers are stacks that every command reads; what was never touched is no doubt.
    stack = open_stack(tmp_path / "cell" / "labels.zarr")
    np.testing.assert_array_equal(np.stack(list(stack)), states[-1][:, 0])
    assert not stack.doubts


def test_only_touched_slices_take_room(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        project.paint(3, *stroke(1, np.random.default_rng(0)))
    chunks = list((tmp_path / "cell" / "labels.zarr").glob("c/*"))
    assert [chunk.name for chunk in chunks] == ["3"]


def test_every_earlier_state_can_be_had_again(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        states = painted(project, 8)
        assert len(project.undo(2)) == 2
        np.testing.assert_array_equal(pixels_of(project), states[6])
        # Changes 9 and 10 took back 8 and 7.
        states += painted(project, 2, seed=9)[1:]
        project.undo(3)
        np.testing.assert_array_equal(pixels_of(project), states[5])
        # Forward again, to a state that undoing left behind; and back.
        project.undo_to(8)
        np.testing.assert_array_equal(pixels_of(project), states[8])
        project.undo()
        np.testing.assert_array_equal(pixels_of(project), states[7])
        project.undo_to(2)
        np.testing.assert_array_equal(pixels_of(project), states[2])
        project.undo_to(0)
        np.testing.assert_array_equal(pixels_of(project), states[0])
        assert project.reviewed_slices() == {}
        with pytest.raises(FibsegError, match="--undo 1: there are 0 changes"):
            project.undo()
        with pytest.raises(FibsegError, match="--undo-to 99: the journal has changes 1 to"):
            project.undo_to(99)


def test_painting_nothing_new_is_no_change(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        labels, reviewed = stroke(1, np.random.default_rng(0))
        assert project.paint(0, labels, reviewed)
        assert not project.paint(0, labels, reviewed)
        assert project.journal.count == 1


def test_a_change_that_a_kill_kept_from_the_layers_is_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(tmp_path) as project:
        (before, *_) = painted(project, 3)
        shutil.copytree(tmp_path / "cell" / "labels.zarr", tmp_path / "old")

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        expected = painted_copy(project)
        monkeypatch.setattr(project.layers, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            project.paint(7, *stroke(2, np.random.default_rng(5)))
    with opened_project(tmp_path / "cell") as project:
        np.testing.assert_array_equal(pixels_of(project), expected)
        assert before.shape == expected.shape


def painted_copy(project: AnnotationProject) -> np.ndarray:
    """The pixels with the stroke that is about to be painted."""
    pixels = pixels_of(project)
    labels, reviewed = stroke(2, np.random.default_rng(5))
    pixels[7] = np.stack([labels, reviewed])
    return pixels


def test_layers_are_made_again_from_the_journal(tmp_path: Path) -> None:
    """What a person may have deleted, or a disk lost."""
    with new_project(tmp_path) as project:
        states = painted(project, 6)
        project.undo()
    damages = [
        lambda: shutil.rmtree(tmp_path / "cell" / "labels.zarr"),
        lambda: shutil.rmtree(tmp_path / "cell" / "reviewed.zarr"),
        lambda: (tmp_path / "cell" / "labels.zarr" / "zarr.json").write_text(""),
        lambda: (tmp_path / "cell" / "journal" / "applied.txt").unlink(),
        lambda: (tmp_path / "cell" / "journal" / "applied.txt").write_text("3"),
    ]
    for damage in damages:
        damage()
        with opened_project(tmp_path / "cell") as project:
            np.testing.assert_array_equal(pixels_of(project), states[5])


def test_a_full_disk_loses_nothing_that_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(tmp_path) as project:
        states = painted(project, 2)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", "x")

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.write_bytes", full)
            with pytest.raises(DiskFullError):
                project.paint(1, *stroke(1, np.random.default_rng(7)))
        # With room again the same stroke is saved.
        assert project.journal.count == 2
        assert project.paint(1, *stroke(1, np.random.default_rng(7)))
        project.undo()
        np.testing.assert_array_equal(pixels_of(project), states[-1])


def test_two_windows_on_one_project(tmp_path: Path) -> None:
    with new_project(tmp_path) as _, pytest.raises(FibsegError, match="open in another window"):
        opened_project(tmp_path / "cell").__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    folder.chmod(0o500)
    with pytest.raises(FibsegError, match="cannot be written"):
        opened_project(folder).__enter__()


def test_an_image_that_is_gone_moved_changed_or_of_another_shape(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    image = tmp_path / "image.tif"
    moved = image.rename(tmp_path / "moved.tif")
    with pytest.raises(FibsegError, match=r"needs its image; if the image has moved"):
        opened_project(folder).__enter__()
    with opened_project(folder, str(moved)) as project:
        assert project.state.image == str(moved)
    with opened_project(folder) as project:
        assert project.image.name == str(moved)
    pixels = tifffile.imread(moved)
    write_stack(tmp_path / "cut.tif", pixels[:-1], [20, 5, 5])
    with pytest.raises(FibsegError, match=r"is of shape \(11, 40, 60\), but the image of cell was"):
        opened_project(folder, str(tmp_path / "cut.tif")).__enter__()
    pixels[-1, 0, 0] += 1
    write_stack(tmp_path / "other.tif", pixels, [20, 5, 5])
    with pytest.raises(FibsegError, match="holds other pixels than when cell was made"):
        opened_project(folder, str(tmp_path / "other.tif")).__enter__()
    # None of the attempts has changed where the project looks for its image.
    assert yaml.safe_load((folder / "project.yaml").read_text())["image"] == str(moved)


@pytest.mark.parametrize(
    ("z", "value", "shape", "message"),
    [
        (12, 1, SHAPE[1:], "slice 12: the image has slices 0 to 11"),
        (-1, 1, SHAPE[1:], "slice -1: the image has slices"),
        (0, 3, SHAPE[1:], r"value 3 is no class of the project \(1 er, 2 golgi; 255 is unsure\)"),
        (0, 1, (40, 59), r"labels of shape \(40, 59\)"),
    ],
)
def test_pixels_that_are_none_of_the_project(
    z: int, value: int, shape: tuple[int, int], message: str, tmp_path: Path
) -> None:
    with new_project(tmp_path) as project, pytest.raises(FibsegError, match=message):
        project.paint(z, np.full(shape, value, np.uint8), np.ones(shape, bool))


def test_proposals_are_accepted_as_they_are(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        labels, _ = stroke(2, np.random.default_rng(0))
        with pytest.raises(FibsegError, match="slice 4: nothing is proposed"):
            project.accept(4)
        project.propose(4, labels)
        assert project.reviewed_slices() == {}
        assert project.accept(4)
        assert not project.accept(4)
        np.testing.assert_array_equal(project.layers.labels(4), labels)
        assert project.layers.reviewed(4).all()
        assert project.reviewed_slices() == {4: {2}}


def test_classes_are_added_behind_the_others(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        project.add_classes(["nucleus"])
        assert project.state.classes == ["er", "golgi", "nucleus"]
        for names in (["er"], ["background"], ["golgi", "x"], [f"c{k}" for k in range(300)]):
            with pytest.raises(FibsegError):
                project.add_classes(names)
    with opened_project(tmp_path / "cell") as project:
        assert project.state.classes == ["er", "golgi", "nucleus"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "damaged"),
        ("version: 1\n", "damaged"),
        ("a: [", "damaged"),
        ("version: !!python/object/apply:os.system ['true']", "damaged"),
    ],
)
def test_a_damaged_project_file(content: str, message: str, tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    (folder / "project.yaml").write_text(content)
    with pytest.raises(FibsegError, match=message):
        opened_project(folder).__enter__()


def test_a_project_of_a_later_version_and_none(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    text = (folder / "project.yaml").read_text()
    (folder / "project.yaml").write_text(text.replace("version: 1", "version: 9"))
    with pytest.raises(FibsegError, match="version 9; this fibseg reads 1"):
        opened_project(folder).__enter__()
    with pytest.raises(FibsegError, match="no annotation project"):
        opened_project(tmp_path / "none").__enter__()


def test_a_damaged_change_is_named(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        painted(project, 2)
    path = tmp_path / "cell" / "journal" / "000001.npz"
    path.write_bytes(path.read_bytes()[:40])
    damaged = pytest.raises(FibsegError, match=r"000001.npz: damaged")
    with opened_project(tmp_path / "cell") as project, damaged:
        list(project.journal.headings())
    path.unlink()
    with opened_project(tmp_path / "cell") as project, pytest.raises(FibsegError, match=r"gone"):
        project.undo_to(0)


def test_what_is_no_project_is_not_made(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    image = str(tmp_path / "image.tif")
    with pytest.raises(FibsegError, match="there is a project already"):
        create_project(folder, "cell", image, ["er"])
    with pytest.raises(FibsegError, match="expected 1 to 253"):
        create_project(tmp_path / "b", "b", image, [])
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((5, 40, 60), np.uint8))
    with pytest.raises(FibsegError, match="no voxel size; give it"):
        create_project(tmp_path / "b", "b", str(tmp_path / "plain.tif"), ["er"])
    assert not (tmp_path / "b").exists()
