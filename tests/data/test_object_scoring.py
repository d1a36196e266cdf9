"""Objects of two stacks: ids, components and both, in slabs and in memory, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure

from fibseg.data.labels.reviewed import Reviewed
from fibseg.data.scoring import StackPair, describe_pair, objects, pair_stacks
from fibseg.data.scoring.annotated import score_annotated_objects
from fibseg.data.scoring.objects import score_components, score_components_by_ids, score_ids
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.scores.instances import contingency, count_matches, pooled_matches
from fibseg.stack import Stack
from tests.support.object_ids import blobs, disturbed

RNG = np.random.default_rng(5)
TRUTH = blobs(RNG, (9, 30, 26))
PREDICTION = disturbed(RNG, TRUTH)


def stack(pixels: np.ndarray) -> Stack:
    return Stack("here", pixels.shape, pixels.dtype, pixels.__getitem__)


def paired(prediction: np.ndarray, truth: np.ndarray, **changes: object) -> StackPair:
    options = {"slices": None, "offset": None, "reviewed": None} | changes
    return pair_stacks(stack(prediction), stack(truth), **options)


def in_2d(truth: np.ndarray, prediction: np.ndarray) -> object:
    """Counts of the connected parts of each slice, together."""
    labelled = [
        [measure.label(ids, connectivity=2) for ids in side] for side in (truth, prediction)
    ]
    return pooled_matches(count_matches(contingency(*pair)) for pair in zip(*labelled, strict=True))


def test_ids_are_counted_as_they_are() -> None:
    (score,) = score_ids(paired(PREDICTION, TRUTH))
    assert score.in_stack == count_matches(contingency(TRUTH, PREDICTION))
    assert score.in_slices == in_2d(TRUTH, PREDICTION)
    (part,) = score_ids(paired(PREDICTION, TRUTH, slices=[1, 2, 3, 6]))
    blocks = [contingency(TRUTH[block], PREDICTION[block]) for block in (np.s_[1:4], np.s_[6:7])]
    assert part.in_stack == pooled_matches(map(count_matches, blocks))


def test_truth_of_a_part_of_the_prediction() -> None:
    (whole,) = score_ids(paired(PREDICTION[2:7, 3:20, 5:22], TRUTH[2:7, 3:20, 5:22]))
    (part,) = score_ids(paired(PREDICTION, TRUTH[2:7, 3:20, 5:22], offset=[2, 3, 5]))
    assert part == whole


@pytest.mark.parametrize("depth", [2, 3, 100])
def test_components_of_classes_in_slabs_of_any_depth(
    depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "slab_depth", lambda _: depth)
    rng = np.random.default_rng(6)
    truth, prediction = (blobs(rng, (7, 24, 24), 0.8) % 3 for _ in range(2))
    truth[0, :6] = 255
    scores = score_components(
        pair := paired(prediction.astype(np.uint8), truth.astype(np.uint8)), describe_pair(pair, {})
    )
    assert [score.name for score in scores] == ["1", "2"]
    for value, score in enumerate(scores, 1):
        sides = [(side == value) & (truth != 255) for side in (truth, prediction)]
        solid = [measure.label(side, connectivity=3) for side in sides]
        assert score.in_stack == count_matches(contingency(*solid))
        assert score.in_slices == in_2d(*solid)


@pytest.mark.parametrize("depth", [2, 100])
def test_components_of_a_prediction_against_ids(
    depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "slab_depth", lambda _: depth)
    classes = np.where(PREDICTION > 0, 4, 9)
    (score,) = score_components_by_ids(paired(classes, TRUTH), 4, "mito")
    components = measure.label(classes == 4, connectivity=3)
    assert score.name == "mito"
    assert score.in_stack == count_matches(contingency(TRUTH, components))
    assert score.in_slices == in_2d(TRUTH, components)


def test_nothing_counts_where_nobody_has_looked() -> None:
    seen = np.zeros(TRUTH.shape, bool)
    seen[2:5, 4:20, 3:22] = True
    reviewed = Reviewed("region", [2, 3, 4], seen.__getitem__)
    cut = np.s_[2:5, 4:20, 3:22]
    (score,) = score_ids(paired(PREDICTION, TRUTH, reviewed=reviewed))
    assert score.in_stack == count_matches(contingency(TRUTH[cut], PREDICTION[cut]))
    mask = (PREDICTION > 0).astype(np.uint8)
    (score,) = score_components_by_ids(paired(mask, TRUTH, reviewed=reviewed), 1, "mito")
    components = measure.label(mask[cut], connectivity=3)
    assert score.in_stack == count_matches(contingency(TRUTH[cut], components))


def test_negative_ids_are_unknown_and_large_ones_are_ids() -> None:
    truth = TRUTH.copy()
    truth[:3] = -1
    (score,) = score_ids(paired(PREDICTION, truth))
    assert score.in_stack == count_matches(contingency(TRUTH[3:], PREDICTION[3:]))
    large = np.where(TRUTH > 0, TRUTH.astype(np.uint64) + np.uint64(2**63), 0).astype(np.uint64)
    (score,) = score_ids(paired(PREDICTION, large))
    assert score.in_stack["matched"] == count_matches(contingency(TRUTH, PREDICTION))["matched"]


def test_a_truth_without_an_object_is_refused() -> None:
    with pytest.raises(FibsegError, match="no object in these slices"):
        score_ids(paired(PREDICTION, np.zeros_like(TRUTH)))
    (score,) = score_ids(paired(np.zeros_like(TRUTH), TRUTH))
    assert score.in_stack["predicted"] == 0 and not any(score.in_stack["matched"])


def annotated(labels: np.ndarray, objects: np.ndarray | None) -> AnnotatedSlice:
    return AnnotatedSlice(0, 0, np.zeros(labels.shape, np.uint8), labels, objects=objects)


def test_objects_of_annotated_slices_against_components_or_given_ones() -> None:
    """Objects 1 and 2 touch; 3 has no id; one pixel of the truth is ignored."""
    labels = np.array([[1, 1, 1, 1, 0, 1, 1, 0, 2, 255]], np.uint8)
    numbers = np.array([[1, 1, 2, 2, 0, -1, -1, 0, 0, 0]], np.int32)
    predicted = np.array([[1, 1, 1, 1, 0, 1, 0, 1, 1, 1]], np.uint8)
    entry = annotated(labels, numbers)
    scores = score_annotated_objects([entry], [predicted], {"mito": 1})
    counts = scores["slices"][0]["classes"]["mito"]
    # Components of the prediction: the two as one, and one of pixels 7 and 8.
    assert (counts["truth"], counts["predicted"], counts["matched"][0]) == (2, 2, 1)
    assert counts["pixels"] == 4
    found = np.array([[5, 5, 6, 6, 0, 7, 0, 8, 8, 9]])
    scores = score_annotated_objects([entry], [predicted], {"mito": 1}, [found])
    counts = scores["blocks"][0]["classes"]["mito"]
    assert (counts["truth"], counts["predicted"], counts["matched"][-1]) == (2, 3, 2)
    with pytest.raises(ValueError, match="no numbers of objects"):
        score_annotated_objects([annotated(labels, None)], [predicted], {"mito": 1})
