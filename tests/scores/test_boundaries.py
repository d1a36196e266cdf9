"""Boundary F1 and clDice against MONAI, against a slow and simple reference, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from scipy import ndimage
from skimage.morphology import skeletonize

from fibseg.arrays import IGNORE
from fibseg.scores.boundaries import boundary, boundary_counts, boundary_f1, cl_dice


def blobs(seed: int, shape: tuple[int, int] = (48, 57)) -> np.ndarray:
    """Smooth random masks that keep off the frame."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    mask = (field > 0.02).astype(np.uint8)
    mask[:3], mask[-3:], mask[:, :3], mask[:, -3:] = 0, 0, 0, 0
    return mask


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0, 3.5])
def test_counts_agree_with_monais_surface_dice(tolerance: float) -> None:
    for seed in range(6):
        truth, prediction = blobs(seed), blobs(seed + 100)
        near, all_of, near_truth, true = boundary_counts(
            truth, prediction, 1, tolerance, (1.0, 1.0)
        )
        one_hot = [
            torch.nn.functional.one_hot(torch.tensor(m).long(), 2).movedim(-1, 0)[None]
            for m in (prediction, truth)
        ]
        peer = compute_surface_dice(*one_hot, class_thresholds=[tolerance])
        assert (near + near_truth) / (all_of + true) == pytest.approx(float(peer[0, 0]), abs=1e-6)


def test_counts_agree_with_every_pair_of_pixels() -> None:
    """On pixels that are not square, with unknown ones."""
    for seed in range(4):
        truth, prediction = blobs(seed, (24, 30)), blobs(seed + 50, (24, 30))
        truth[5:9, 10:20] = IGNORE
        spacing, tolerance = (8.0, 5.0), 13.0
        found = boundary_counts(truth, prediction, 1, tolerance, spacing)
        sides = []
        for labels in (prediction, truth):
            edge = []
            for r, c in np.ndindex(labels.shape):
                if labels[r, c] != 1 or truth[r, c] == IGNORE:
                    continue
                around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
                inside = [
                    one
                    for one in around
                    if 0 <= one[0] < 24 and 0 <= one[1] < 30 and truth[one] != IGNORE
                ]
                if any(labels[one] != 1 for one in inside):
                    edge.append((r * spacing[0], c * spacing[1]))
            sides.append(edge)
        near = [
            sum(any(math.dist(p, q) <= tolerance for q in b) for p in a)
            for a, b in (sides, sides[::-1])
        ]
        assert found == (near[0], len(sides[0]), near[1], len(sides[1]))


def test_a_line_that_is_moved() -> None:
    """A line one pixel wide, moved by two rows of 5 nm: all near at 10 nm, nothing at 9."""
    truth = np.zeros((20, 20), np.uint8)
    truth[10] = 1
    moved = np.roll(truth, 2, axis=0)
    assert boundary_f1(truth, moved, 1, 10.0, (5.0, 5.0)) == 1
    assert boundary_f1(truth, moved, 1, 9.0, (5.0, 5.0)) == 0
    assert cl_dice(truth, moved, 1) == 0 and cl_dice(truth, truth, 1) == 1


def test_half_of_a_line_and_twice_a_line() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[10] = 1
    half = truth.copy()
    half[:, 10:] = 0
    assert boundary_f1(truth, half, 1, 0.0, (1.0, 1.0)) == pytest.approx(
        2 / 3
    )  # precision 1, recall 1/2
    twice = truth.copy()
    twice[3] = 1
    assert boundary_f1(truth, twice, 1, 0.0, (1.0, 1.0)) == pytest.approx(2 / 3)
    assert cl_dice(truth, twice, 1) == pytest.approx(2 / 3)


def test_cl_dice_from_its_formula() -> None:
    for seed in range(5):
        truth, prediction = blobs(seed), blobs(seed + 1)
        lines = [skeletonize(mask.astype(bool)) for mask in (prediction, truth)]
        precision, sensitivity = truth[lines[0]].mean(), prediction[lines[1]].mean()
        expected = 2 * precision * sensitivity / (precision + sensitivity)
        assert cl_dice(truth, prediction, 1) == pytest.approx(expected)


def test_absent_full_and_unknown() -> None:
    empty, full = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint8)
    assert math.isnan(boundary_f1(empty, full, 1, 1.0, (1, 1))) and math.isnan(
        cl_dice(empty, full, 1)
    )
    spot = empty.copy()
    spot[3, 3] = 1
    assert boundary_f1(spot, empty, 1, 1.0, (1, 1)) == 0 and cl_dice(spot, empty, 1) == 0
    assert math.isnan(boundary_f1(full, full, 1, 1.0, (1, 1)))  # nothing to be near to
    half = full.copy()
    half[:, 4:] = IGNORE
    assert not boundary(half == 1, half != IGNORE).any()  # it may go on
    assert math.isnan(boundary_f1(half, full, 1, 1.0, (1, 1)))
    assert boundary_f1(spot, full, 1, 1.0, (1, 1)) == 0
