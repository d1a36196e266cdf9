"""Matches and entropies against sets, SciPy's assignment, scikit-image and cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import variation_of_information

from fibseg.scores.instances import (
    IOU_THRESHOLDS,
    ObjectCounter,
    contingency,
    count_matches,
    instance_figures,
    pooled_matches,
)
from tests.scores.instances.references import assigned, objects_of, overlaps_of
from tests.support.object_ids import blobs, disturbed


@pytest.mark.parametrize("shape", [(30, 30), (6, 18, 18)])
@pytest.mark.parametrize("seed", range(12))
def test_counts_are_those_of_sets_and_of_an_assignment(seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    truth = blobs(rng, shape)
    prediction = disturbed(rng, truth) if seed % 3 else blobs(rng, shape)
    counts = count_matches(contingency(truth, prediction))
    assert counts["truth"] == len(objects_of(truth))
    assert counts["predicted"] == len(objects_of(prediction))
    assert counts["pixels"] == np.count_nonzero(truth)
    ratios = overlaps_of(truth, prediction)
    for k, threshold in enumerate(IOU_THRESHOLDS):
        pairs = assigned(ratios, threshold)
        assert counts["matched"][k] == len(pairs)
        assert counts["iou"][k] == pytest.approx(sum(pairs))
    expected = variation_of_information(truth, prediction, ignore_labels=[0])
    assert counts["split_bits"] / counts["pixels"] == pytest.approx(expected[0])
    assert counts["merge_bits"] / counts["pixels"] == pytest.approx(expected[1])


@pytest.mark.parametrize("seed", range(20))
def test_small_arrays_hit_the_thresholds_exactly(seed: int) -> None:
    """Runs of two to twenty pixels reach .5, .55 and so on exactly, and halves come in pairs."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 9, 40), rng.integers(1, 21, 40))
    cut = np.repeat(rng.integers(1, 6, 400), rng.integers(1, 9, 400))[: len(truth)]
    prediction = np.where(truth > 0, truth * 10 + cut, 0) if seed % 2 else cut
    counts = count_matches(contingency(truth, prediction))
    ratios = overlaps_of(truth, prediction)
    assert counts["matched"] == [len(assigned(ratios, t)) for t in IOU_THRESHOLDS]


def test_half_an_object_is_matched_at_one_half_and_its_other_half_is_not() -> None:
    whole = np.array([[1, 1, 1, 1, 0]])
    halves = np.array([[5, 5, 6, 6, 0]])
    for truth, prediction in ((whole, halves), (halves, whole)):
        counts = count_matches(contingency(truth, prediction))
        assert counts["matched"] == [1] + [0] * 9
        assert counts["iou"][0] == 0.5
    # Two equal halves cost one bit for each pixel.
    counts = count_matches(contingency(whole, halves))
    assert (counts["split_bits"], counts["merge_bits"]) == (4.0, 0.0)
    counts = count_matches(contingency(halves, whole))
    assert (counts["split_bits"], counts["merge_bits"]) == (0.0, 4.0)


def test_eleven_of_twenty_reach_55() -> None:
    truth = np.array([1] * 20 + [0])
    prediction = np.array([3] * 11 + [0] * 10)
    assert count_matches(contingency(truth, prediction))["matched"] == [1, 1] + [0] * 8


def test_figures_of_a_case_done_by_hand() -> None:
    """Three true objects of 10 pixels: found whole, found by 6 of 10, missed; one is false."""
    truth = np.repeat([1, 0, 2, 0, 3, 0, 0], 10)
    prediction = np.repeat([9, 0, 8, 0, 0, 7, 0], 10)
    prediction[26:30] = 0
    figures = instance_figures(count_matches(contingency(truth, prediction)))
    assert (figures.truth, figures.predicted) == (3, 3)
    at_50 = figures.at_50
    assert (at_50.precision, at_50.recall, at_50.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert at_50.quality == pytest.approx(1.6 / 3)
    assert at_50.accuracy == pytest.approx(2 / 4)
    assert figures.at_75.accuracy == pytest.approx(1 / 5)
    # .5, .55 and .6 have two pairs; the other seven thresholds have one.
    assert figures.msa == pytest.approx((3 * 2 / 4 + 7 * 1 / 5) / 10)


def test_ids_of_all_sizes_and_other_numbers_change_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = blobs(rng, (40, 40))
    prediction = disturbed(rng, truth)
    counts = count_matches(contingency(truth, prediction))
    shift = np.uint64(2**63)
    large = np.where(prediction > 0, prediction.astype(np.uint64) + shift, 0).astype(np.uint64)
    order = rng.permutation(truth.max()) + 1
    relabelled = np.concatenate([[0], order])[truth]
    again = count_matches(contingency(relabelled, large))
    for key in ("truth", "predicted", "matched", "pixels"):
        assert again[key] == counts[key]
    for key in ("iou", "split_bits", "merge_bits"):
        assert again[key] == pytest.approx(counts[key])
    # Two ids that are equal in 32 bits are two objects.
    ids = np.array([[7, 7 + 2**32]])
    assert count_matches(contingency(ids, ids))["matched"][0] == 2


def test_an_id_in_two_far_places_is_one_object_in_3d_and_two_in_a_slice() -> None:
    truth = np.zeros((20, 20), np.int64)
    truth[2:5, 2:5] = 1
    truth[12:15, 12:15] = 1
    prediction = np.where(truth, 2, 0)
    prediction[10:][prediction[10:] > 0] = 3
    counter = ObjectCounter()
    counter.add(truth, prediction)
    assert (counter.in_stack["truth"], counter.in_stack["predicted"]) == (1, 2)
    assert counter.in_stack["matched"][0] == 1 and counter.in_stack["iou"][0] == 0.5
    (in_slice,) = counter.in_slices
    assert (in_slice["truth"], in_slice["predicted"], in_slice["matched"][-1]) == (2, 2, 2)


def test_slices_add_up_to_their_stack() -> None:
    rng = np.random.default_rng(3)
    truth = blobs(rng, (7, 24, 24))
    prediction = disturbed(rng, truth)
    counter = ObjectCounter()
    for slices in zip(truth, prediction, strict=True):
        counter.add(*slices)
    assert counter.in_stack == count_matches(contingency(truth, prediction))
    # Pooled over slices is the same as one row of slices in which no id is in two of them.
    offset = np.arange(7)[:, None, None] * 10**6
    apart = [np.where(ids > 0, ids + offset, 0) for ids in (truth, prediction)]
    by_slice = [count_matches(contingency(*pair)) for pair in zip(*apart, strict=True)]
    pooled = pooled_matches(by_slice)
    whole = count_matches(contingency(*apart))
    for key in ("truth", "predicted", "matched", "pixels"):
        assert pooled[key] == whole[key]
    assert pooled["iou"] == pytest.approx(whole["iou"])
    # The background of a prediction is one object, and of all slices together the same one.
    assert pooled["split_bits"] == pytest.approx(whole["split_bits"])
    assert pooled["merge_bits"] <= whole["merge_bits"]


def test_nothing_is_scored_where_an_object_is_unknown() -> None:
    truth = np.array([[1, 1, -1, -1, 0, 2]])
    prediction = np.array([[4, 4, 4, 5, 0, -3]])
    counter = ObjectCounter()
    counter.add(truth, prediction)
    counts = counter.in_stack
    assert (counts["truth"], counts["predicted"], counts["matched"][-1]) == (1, 1, 1)
    assert counts["pixels"] == 2
    assert counts == count_matches(contingency(truth, prediction))


def test_slices_without_objects_and_objects_of_a_single_pixel() -> None:
    empty = np.zeros((3, 4), np.uint8)
    counts = count_matches(contingency(empty, empty))
    figures = instance_figures(counts)
    assert (figures.truth, figures.predicted, counts["pixels"]) == (0, 0, 0)
    for value in (figures.msa, figures.voi_split, figures.at_50.f1, figures.at_50.precision):
        assert math.isnan(value)
    pixel = empty.copy()
    pixel[0, 0] = 1
    missed = instance_figures(count_matches(contingency(pixel, empty)))
    assert (missed.at_50.recall, missed.at_50.f1, missed.msa) == (0.0, 0.0, 0.0)
    assert math.isnan(missed.at_50.precision)
    false = instance_figures(count_matches(contingency(empty, pixel)))
    assert (false.at_50.precision, false.at_50.f1) == (0.0, 0.0)
    assert math.isnan(false.at_50.recall)
    whole = instance_figures(count_matches(contingency(pixel, pixel * 3)))
    assert (whole.at_50.quality, whole.msa, whole.voi_split, whole.voi_merge) == (1, 1, 0, 0)
    assert pooled_matches([]) == counts
    assert count_matches(contingency(empty[:0], empty[:0])) == counts


def test_arrays_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        contingency(np.zeros((1, 4), int), np.zeros((4, 1), int))
