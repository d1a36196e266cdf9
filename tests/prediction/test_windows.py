"""Where windows lie: every pixel used once, or by weights, whatever the shape of the slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.prediction.windows import (
    Cut,
    Windows,
    blend_cuts,
    blend_weights,
    paper_cuts,
    tile_cuts,
    windows_of,
)
from tests.support.models import trained


def times_used(cuts: list[Cut], length: int) -> np.ndarray:
    counts = np.zeros(length, int)
    for cut in cuts:
        assert cut.start <= cut.first < cut.last <= cut.stop and cut.last <= length
        counts[cut.first : cut.last] += 1
    return counts


@given(st.integers(1, 700), st.integers(3, 300))
def test_paper_windows_use_every_pixel_once(length: int, size: int) -> None:
    cuts = paper_cuts(length, size)
    assert (times_used(cuts, length) == 1).all()
    assert {cut.stop - cut.start for cut in cuts} == {size}


@given(
    st.integers(1, 3000), st.integers(1, 1200), st.integers(0, 200), st.sampled_from([1, 16, 32])
)
def test_tiles_use_every_pixel_once_and_see_their_halo(
    length: int, side: int, halo: int, grid: int
) -> None:
    cuts = tile_cuts(length, side, halo, grid)
    assert (times_used(cuts, length) == 1).all()
    for cut in cuts:
        assert cut.start % grid == 0 and cut.start >= 0 and cut.stop <= length
        assert cut.start == 0 or cut.first - cut.start >= halo
        assert cut.stop == length or cut.stop - cut.last >= halo


@given(st.integers(1, 700), st.integers(1, 300))
def test_blended_windows_reach_every_pixel_and_overlap_by_half(length: int, size: int) -> None:
    cuts = blend_cuts(length, size)
    assert (times_used(cuts, length) >= 1).all()
    assert {cut.stop - cut.start for cut in cuts} == {size}
    assert length <= size or (cuts[0].start == 0 and cuts[-1].stop == length)
    steps = np.diff([cut.start for cut in cuts])
    assert (steps <= max(1, -(-size // 2))).all() and (steps > 0).all()


def test_weights_are_largest_in_the_middle_and_nowhere_0() -> None:
    weights = blend_weights(64)
    assert weights.shape == (64, 64) and weights.min() > 0
    assert weights[31, 31] == weights.max() and np.allclose(weights, weights[::-1, ::-1])
    expected = np.exp(-0.5 * ((0 - 31.5) / 8) ** 2) * np.exp(-0.5 * ((31 - 31.5) / 8) ** 2)
    assert weights[0, 31] == pytest.approx(max(expected, 1e-4))


def test_windows_that_a_model_cannot_have() -> None:
    model = trained([650], 2)
    assert str(windows_of(model, "paper")) == "paper 32"
    assert str(windows_of(model, "whole")) == "whole"
    assert str(windows_of(model, "tiles")) == "tiles 1024"
    with pytest.raises(FibsegError, match="'none' is not known"):
        windows_of(model, "none")
    by_patch = replace(model, channels=Channels((650,), "patch"))
    with pytest.raises(FibsegError, match=r"filter\.scope=patch; take paper or blend"):
        windows_of(by_patch, "whole")


def test_tiles_are_of_about_one_size() -> None:
    windows = Windows("whole", 0, 112, 16)
    assert len(windows.cuts(2048, 2048)) == 1
    # Three of them; two of 1024 pixels would leave a sliver of 2.
    assert {cut.last - cut.first for cut in tile_cuts(2050, 1024, 112, 16)} == {688, 674}
