"""What a draft of a data description takes from the files."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import yaml

from fibseg.data.draft import MOST_LABEL_VALUES, Draft, DraftRequest, draft_from_stacks
from fibseg.data.splits import compact_slices, parse_slices, proposed_splits
from fibseg.errors import FibsegError
from fibseg.stack import Stack
from tests.support.painted import painted_stacks

EMPTY = np.zeros((12, 32, 32), np.uint8)


def stack(pixels: np.ndarray, voxel_size: tuple[float, float, float] | None = None) -> Stack:
    return Stack("here", pixels.shape, pixels.dtype, pixels.__getitem__, voxel_size)


def draft(labels: np.ndarray, offset: list[int] | None = None) -> Draft:
    """A draft of labels in an empty image of (12, 32, 32)."""
    request = DraftRequest(offset or [0, 0, 0])
    return draft_from_stacks(stack(EMPTY), stack(labels), request)


@pytest.mark.parametrize("count", range(2, 40))
def test_splits_share_the_slices_out_in_order(count: int) -> None:
    slices = list(range(3, 3 + 7 * count, 7))
    splits = proposed_splits(slices)
    assert [z for split_slices in splits.values() for z in split_slices] == slices
    assert list(splits) == ["train", "validation", "test"][: 3 if count > 2 else 2]
    assert all(splits.values())
    assert abs(len(splits["validation"]) - 0.2 * count) <= 0.6
    assert len(splits["train"]) >= len(splits["validation"])


@pytest.mark.parametrize("count", range(2, 120))
def test_slices_between_the_splits_are_left_out_where_they_follow_each_other(count: int) -> None:
    splits = list(proposed_splits(range(count)).values())
    gaps = [second[0] - first[-1] - 1 for first, second in pairwise(splits)]
    # Fewer than eight slices are all needed.
    expected = 0 if count < 8 else max(1, round(0.05 * count))
    assert set(gaps) == {expected}
    assert (splits[0][0], splits[-1][-1]) == (0, count - 1)


@pytest.mark.parametrize(
    "positions", [[0], [5], [0, 1], [0, 1, 2], [4, 14, 24, 34], [0, 1, 3], [2, 9], [0, 3, 6, 10]]
)
def test_compact_slices_are_read_as_the_same_slices(positions: list[int]) -> None:
    assert parse_slices(yaml.safe_load(compact_slices(positions)), 40, "") == positions


@pytest.mark.parametrize(
    ("shape", "offset", "axis"),
    [
        ((13, 32, 32), [0, 0, 0], "z"),
        ((12, 32, 32), [1, 0, 0], "z"),
        ((3, 32, 33), [0, 0, 0], "x"),
        ((3, 30, 32), [0, 3, 0], "y"),
        ((3, 3, 3), [0, 0, -1], "x"),
    ],
)
def test_labels_outside_the_image(
    shape: tuple[int, int, int], offset: list[int], axis: str
) -> None:
    message = rf"lies outside the image \(12, 32, 32\) along {axis}; .*--offset z,y,x"
    with pytest.raises(FibsegError, match=message):
        draft(np.ones(shape, np.uint8), offset)


def test_labels_that_fit_exactly() -> None:
    fitting = draft(np.ones((2, 30, 31), np.uint8), [10, 2, 1])
    assert (fitting.annotated, fitting.offset, fitting.depth) == ([10, 11], [10, 2, 1], 12)
    assert fitting.label_depth == 2


def test_as_many_values_as_classes_may_have() -> None:
    labels = EMPTY.astype(np.uint16)
    labels.ravel()[:MOST_LABEL_VALUES] = np.arange(MOST_LABEL_VALUES)
    labels[1, 0, 0] = 5
    assert len(draft(labels).values) == MOST_LABEL_VALUES
    labels[2, 0, 0] = 999
    message = f"over {MOST_LABEL_VALUES} label values: objects with a number each"
    with pytest.raises(FibsegError, match=message):
        draft(labels)


def test_stacks_that_are_no_labels() -> None:
    unannotated = EMPTY.copy()
    unannotated[3] = 255
    for labels, message in (
        (unannotated, "nothing but 0 and 255; there is no annotation"),
        (painted_stacks([5])[1], "one annotated slice; at least two are needed"),
    ):
        with pytest.raises(FibsegError, match=message) as raised:
            draft(labels)
        assert len(str(raised.value).splitlines()) == 1


IMAGE_SIZE = (8.0, 4.0, 4.0)
LABEL_SIZE = (8.01, 4.0, 4.0)


@pytest.mark.parametrize(
    ("given", "image_size", "label_size", "expected"),
    [
        ([1, 2, 3], IMAGE_SIZE, LABEL_SIZE, [1, 2, 3]),
        (None, IMAGE_SIZE, LABEL_SIZE, list(IMAGE_SIZE)),
        (None, None, LABEL_SIZE, list(LABEL_SIZE)),
        (None, None, None, None),
    ],
)
def test_voxel_size_is_given_or_of_the_image_or_of_the_labels(
    given: list[float] | None,
    image_size: tuple[float, float, float] | None,
    label_size: tuple[float, float, float] | None,
    expected: list[float] | None,
) -> None:
    image, labels = painted_stacks([1, 2])
    stacks = stack(image, image_size), stack(labels, label_size)
    assert draft_from_stacks(*stacks, DraftRequest(voxel_size=given)).voxel_size == expected
