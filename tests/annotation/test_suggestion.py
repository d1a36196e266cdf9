"""What is suggested: regions that cover slices, ranked by what a model says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fibseg.annotation.suggestion import (
    STRATEGIES,
    Region,
    candidate_slices,
    judged,
    measured_candidates,
    regions_of,
    suggest_regions,
    uncertainty_of,
    unreviewed_regions,
    unreviewed_slices,
)
from fibseg.errors import FibsegError
from tests.support.annotation import SHAPE, new_project

sides = st.integers(1, 90)


@given(st.tuples(sides, sides), st.tuples(sides, sides))
def test_regions_cover_a_slice_once(shape: tuple[int, int], size: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    for region in regions_of(3, shape, size):
        assert region.z == 3 and covered[region.box].size
        covered[region.box] += 1
    assert (covered == 1).all()


def test_half_slices() -> None:
    left, right = regions_of(0, (768, 1024), (768, 512))
    assert (left.x, left.width, right.x, right.width) == (0, 512, 512, 512)
    assert np.zeros((768, 1024))[left.box].shape == (768, 512)


def test_slices_beside_reviewed_ones_wait() -> None:
    assert candidate_slices(9, [1, 7], 99) == [3, 4, 5]
    assert candidate_slices(3, [1], 99) == [0, 2]
    assert candidate_slices(2, [0, 1], 99) == []
    assert len(candidate_slices(400, [], 16)) == 16


def test_uncertainty_is_entropy() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(4), (5, 6)).transpose(2, 0, 1)
    expected = scipy.stats.entropy(shares, axis=0) / np.log(4)
    np.testing.assert_allclose(uncertainty_of(shares), expected, atol=1e-5)
    sure = np.stack([np.ones((2, 2)), np.zeros((2, 2))])
    assert uncertainty_of(sure).max() < 1e-4
    assert uncertainty_of(np.full((3, 1, 1), 1 / 3)) == pytest.approx(1)


def test_a_region_is_measured_in_its_box() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:5, 5:] = 2
    unsure = np.zeros((10, 10))
    unsure[5:, 5:] = 1
    region = judged(Region(0, 0, 5, 10, 5), labels, unsure)
    assert (region.foreground, region.disagreement) == (0.5, 0.5)
    region = judged(Region(0, 0, 0, 10, 5), labels, unsure)
    assert (region.foreground, region.disagreement) == (0.0, 0.0)


def candidates() -> list[Region]:
    """Two regions in each of six slices; the second of slice 3 is the least sure."""
    regions = measured_candidates(range(6), (10, 20), (10, 10), judge=None)
    return [
        replace(region, foreground=0.02 * (k % 3), disagreement=0.5 if k == 7 else k / 100)
        for k, region in enumerate(regions)
    ]


def test_disagreement_takes_the_least_sure_of_different_slices() -> None:
    chosen = suggest_regions(candidates(), 3, "disagreement")
    assert [(region.z, region.x) for region in chosen] == [(3, 10), (4, 10), (5, 10)]


def test_foreground_is_drawn_from_regions_that_hold_it() -> None:
    drawn = [suggest_regions(candidates(), 4, "foreground", seed) for seed in range(20)]
    assert all(region.foreground >= 0.01 for regions in drawn for region in regions)
    assert all(len({region.z for region in regions}) == 4 for regions in drawn)
    assert len({tuple(region.z for region in regions) for regions in drawn}) > 5
    assert drawn[0] == suggest_regions(candidates(), 4, "foreground", 0)


def test_more_than_there_are() -> None:
    for kind in STRATEGIES:
        chosen = suggest_regions(candidates(), 99, kind)
        assert len(chosen) == len(set(chosen)) == 12
    # A model that finds nothing is no reason to suggest nothing.
    nothing = [replace(region, foreground=0.0) for region in candidates()]
    assert len(suggest_regions(nothing, 2, "foreground")) == 2


def test_the_rest_of_half_reviewed_slices_comes_last(tmp_path: Path) -> None:
    whole = np.ones(SHAPE[1:], bool)
    left = whole.copy()
    left[:, SHAPE[2] // 2 :] = False
    empty = np.zeros(SHAPE[1:], np.uint8)
    with new_project(tmp_path) as project:
        depth = project.image.shape[0]
        project.paint(0, empty, left)
        assert 0 not in unreviewed_slices(project, 99)
        for z in range(1, depth - 1):
            project.paint(z, empty, whole)
        project.update(splits={"test": [depth - 1]})
        assert unreviewed_slices(project, 99) == [0]
        (region,) = unreviewed_regions(project, [0], (SHAPE[1], SHAPE[2] // 2), None)
        assert (region.z, region.x, region.width) == (0, SHAPE[2] // 2, SHAPE[2] // 2)
        with pytest.raises(FibsegError, match="at least half of every region is reviewed"):
            unreviewed_regions(project, [0], SHAPE[1:], None)
        project.paint(0, empty, whole)
        with pytest.raises(FibsegError, match="every slice is reviewed"):
            unreviewed_slices(project, 99)
