"""Boundary F1 and clDice against MONAI, against a slow and simple reference, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.morphology import skeletonize

from fibseg.arrays import IGNORE
from fibseg.scores.boundaries import boundary, boundary_counts, boundary_f1, cl_dice


def smooth_mask(seed: int, shape: tuple[int, int] = (48, 57)) -> np.ndarray:
    """A smooth random mask that does not touch the edges of the slice."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    mask = (field > 0.02).astype(np.uint8)
    return np.pad(mask[3:-3, 3:-3], 3)


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0, 3.5])
def test_counts_agree_with_monais_surface_dice(tolerance: float) -> None:
    # It loads for two seconds: not every process that imports the tests does.
    from monai.metrics import compute_surface_dice

    for seed in range(6):
        truth = smooth_mask(seed)
        prediction = smooth_mask(seed + 100)
        near_true, predicted, near_predicted, true = boundary_counts(
            truth, prediction, 1, tolerance, (1.0, 1.0)
        )
        one_hot = [
            torch.nn.functional.one_hot(torch.tensor(m).long(), 2).movedim(-1, 0)[None]
            for m in (prediction, truth)
        ]
        surface_dice = compute_surface_dice(*one_hot, class_thresholds=[tolerance])
        assert (near_true + near_predicted) / (predicted + true) == pytest.approx(
            float(surface_dice[0, 0]), abs=1e-6
        )


def test_counts_agree_with_every_pair_of_pixels() -> None:
    """On pixels that are not square, some of them unannotated."""
    spacing = (8.0, 5.0)
    tolerance = 13.0
    for seed in range(4):
        truth = smooth_mask(seed, (24, 30))
        prediction = smooth_mask(seed + 50, (24, 30))
        truth[5:9, 10:20] = IGNORE
        edges = []
        for labels in (prediction, truth):
            edge = []
            for r, c in np.ndindex(labels.shape):
                if labels[r, c] != 1 or truth[r, c] == IGNORE:
                    continue
                around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
                known = [
                    (row, column)
                    for row, column in around
                    if 0 <= row < 24 and 0 <= column < 30 and truth[row, column] != IGNORE
                ]
                if any(labels[pixel] != 1 for pixel in known):
                    edge.append((r * spacing[0], c * spacing[1]))
            edges.append(edge)
        near = [
            sum(any(math.dist(p, q) <= tolerance for q in opposite) for p in edge)
            for edge, opposite in (edges, edges[::-1])
        ]
        expected = (near[0], len(edges[0]), near[1], len(edges[1]))
        assert boundary_counts(truth, prediction, 1, tolerance, spacing) == expected


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
    # Precision 1, recall 1/2.
    assert boundary_f1(truth, half, 1, 0.0, (1.0, 1.0)) == pytest.approx(2 / 3)
    twice = truth.copy()
    twice[3] = 1
    assert boundary_f1(truth, twice, 1, 0.0, (1.0, 1.0)) == pytest.approx(2 / 3)
    assert cl_dice(truth, twice, 1) == pytest.approx(2 / 3)


def test_cl_dice_from_its_formula() -> None:
    for seed in range(5):
        truth = smooth_mask(seed)
        prediction = smooth_mask(seed + 1)
        precision = truth[skeletonize(prediction.astype(bool))].mean()
        sensitivity = prediction[skeletonize(truth.astype(bool))].mean()
        expected = 2 * precision * sensitivity / (precision + sensitivity)
        assert cl_dice(truth, prediction, 1) == pytest.approx(expected)


def test_absent_full_and_unannotated() -> None:
    empty = np.zeros((8, 8), np.uint8)
    full = np.ones((8, 8), np.uint8)
    assert math.isnan(boundary_f1(empty, full, 1, 1.0, (1, 1)))
    assert math.isnan(cl_dice(empty, full, 1))
    spot = empty.copy()
    spot[3, 3] = 1
    assert boundary_f1(spot, empty, 1, 1.0, (1, 1)) == 0
    assert cl_dice(spot, empty, 1) == 0
    # A full slice has no boundary to be near to.
    assert math.isnan(boundary_f1(full, full, 1, 1.0, (1, 1)))
    half = full.copy()
    half[:, 4:] = IGNORE
    # The structure may continue in the half that is not annotated.
    assert not boundary(half == 1, half != IGNORE).any()
    assert math.isnan(boundary_f1(half, full, 1, 1.0, (1, 1)))
    assert boundary_f1(spot, full, 1, 1.0, (1, 1)) == 0
