"""Scores of label stacks as a notebook calls them, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fibseg.data.description import ClassDescription
from fibseg.data.scoring import describe_labels, score_stacks
from fibseg.errors import FibsegError
from fibseg.stack import Stack

LABELS, PREDICTION = np.random.default_rng(0).integers(0, 3, (2, 4, 20, 20)).astype(np.uint8)


def stack(pixels: np.ndarray, name: str = "here") -> Stack:
    return Stack(name, pixels.shape, pixels.dtype, pixels.__getitem__)


@pytest.mark.parametrize("slices", [None, [0, 2]])
def test_scores_against_scikit_learn(slices: list[int] | None) -> None:
    scores = score_stacks(stack(PREDICTION), stack(LABELS), slices=slices)
    assert [entry.name for entry in scores] == ["1", "2"]
    for value, entry in enumerate(scores, 1):
        expected = [
            f1_score((LABELS[z] == value).ravel(), (PREDICTION[z] == value).ravel())
            for z in slices or range(4)
        ]
        assert entry.f1 == pytest.approx(np.mean(expected))
        assert entry.slices == len(expected)


def test_a_description_names_the_classes_and_unannotated_pixels_do_not_count() -> None:
    labels = LABELS.copy()
    labels[0] = 255
    description = describe_labels(LABELS)
    description.classes = {"er": ClassDescription(2, 1.0)}
    description.background.labels = [0, 1]
    (er,) = score_stacks(stack(PREDICTION), stack(labels), description)
    expected = [
        f1_score((LABELS[z] == 2).ravel(), (PREDICTION[z] == 2).ravel()) for z in range(1, 4)
    ]
    assert (er.name, er.slices) == ("er", 3)
    assert er.f1 == pytest.approx(np.mean(expected))


def test_classes_of_label_files() -> None:
    classes = describe_labels([np.array([[0, 7]]), np.array([[255, 3]])]).classes
    assert {name: entry.label for name, entry in classes.items()} == {"3": 3, "7": 7}
    with pytest.raises(FibsegError, match="nothing but 0"):
        describe_labels([np.array([[0, 255]])])


def test_stacks_of_different_shapes_need_an_offset() -> None:
    part = stack(LABELS[1:3, 2:12, 5:15])
    with pytest.raises(FibsegError, match="they must have one shape"):
        score_stacks(stack(LABELS), part)
    scores = score_stacks(stack(LABELS), part, offset=[1, 2, 5])
    assert [entry.f1 for entry in scores] == [1.0, 1.0]
