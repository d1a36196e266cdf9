"""The arrays that a window paints on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibseg.annotation import opened_project
from fibseg.annotation.session import Session, SliceArray
from fibseg.errors import FibsegError
from fibseg.files import DiskFullError
from tests.support.annotation import SHAPE, new_project

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 99, (5, 7, 9)).astype(np.uint8)
INDICES = tuple(GENERATOR.integers(0, side, 20) for side in PIXELS.shape)
KEYS: list[Any] = [
    2,
    -1,
    (slice(1, 4),),
    (slice(None), slice(2, 3), slice(0, 5)),
    (slice(4, 5), slice(1, 6), slice(2, 9)),
    (3, slice(None), 4),
    (np.int64(1), slice(2, 5), slice(None)),
    (Ellipsis, 3),
    Ellipsis,
    (slice(3, 3),),
    (slice(None, None, 2), slice(None, None, -1)),
    INDICES,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_it_is_read_and_written_as_numpys_arrays_are(key: Any) -> None:
    array = SliceArray((5, 7, 9), np.uint8, lambda z: PIXELS[z].copy(), writes=True)
    expected = PIXELS.copy()
    np.testing.assert_array_equal(array[key], expected[key])
    for value in (200, np.arange(expected[key].size, dtype=np.uint8).reshape(expected[key].shape)):
        array[key] = value
        expected[key] = value
        np.testing.assert_array_equal(array[:], expected)
    changed = [z for z in range(5) if (expected[z] != PIXELS[z]).any()]
    assert set(changed) <= set(array.changed)


def test_a_slice_that_is_none() -> None:
    array = SliceArray((5, 7, 9), np.uint8, lambda z: PIXELS[z], writes=False)
    assert (len(array), array.size) == (5, 315)
    with pytest.raises(IndexError):
        array[5]
    with pytest.raises(FibsegError, match="accept it to change it"):
        array[0] = 1


def test_what_is_painted_is_saved_and_read_again(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        session = Session(project)
        np.testing.assert_array_equal(session.image[3], project.image.read(3))
        session.labels[3, 10:20, 5:9] = 2
        session.reviewed[3, 5:30, 0:20] = 1
        session.labels[7, 0, 0] = 1
        assert session.save() == [3, 7]
        assert session.save() == []
        session.complete(7)
        assert project.reviewed_slices() == {3: {2}, 7: {1}}
        assert len(session.undo()) == 1
        assert project.reviewed_slices() == {3: {2}}
    with opened_project(tmp_path / "cell") as project:
        assert Session(project).labels[3].sum() == 2 * 40


def test_proposals_are_seen_and_accepted(tmp_path: Path) -> None:
    with new_project(tmp_path) as project:
        session = Session(project)
        assert not session.proposed[4].any()
        labels = np.full(SHAPE[1:], 2, np.uint8)
        project.propose(4, labels)
        session.refresh(4)
        session.accept(4)
        np.testing.assert_array_equal(session.labels[4], labels)
        assert session.reviewed[4].all()


def test_strokes_wait_in_memory_while_a_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(tmp_path) as project:
        session = Session(project)
        session.labels[2, 3:9, 3:9] = 1
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device", "x")

            patch.setattr("pathlib.Path.write_bytes", full)
            with pytest.raises(DiskFullError):
                session.save()
        assert session.save() == [2]
        assert project.layers.labels(2).sum() == 36
