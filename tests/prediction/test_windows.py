"""Where windows lie: every pixel used once, or weights that sum to one, whatever the shape; and networks by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fibseg.errors import FibsegError
from fibseg.models.kinds import create_model
from fibseg.prediction.slices import predict_scores, predict_slice, probabilities
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

CPU = torch.device("cpu")
UNET: dict[str, Any] = {
    "channels": 2,
    "classes": 3,
    "width": 3,
    "dropout": 0.5,
    "norm_momentum": 0.1,
    "norm_eps": 1e-3,
    "block_order": "relu_norm",
}
EUNET: dict[str, Any] = {
    "channels": 2,
    "classes": 3,
    "encoder": "efficientnet_b0",
    "width": 8,
    "norm_momentum": 0.1,
    "norm_eps": 1e-3,
    "drop_path": 0.0,
}


def used(cuts: list[Cut], length: int) -> np.ndarray:
    counts = np.zeros(length, int)
    for cut in cuts:
        assert cut.start <= cut.first < cut.last <= cut.stop and cut.last <= length
        counts[cut.first : cut.last] += 1
    return counts


@given(st.integers(1, 700), st.integers(3, 300))
def test_paper_windows_use_every_pixel_once(length: int, size: int) -> None:
    cuts = paper_cuts(length, size)
    assert (used(cuts, length) == 1).all()
    assert {cut.stop - cut.start for cut in cuts} == {size}


@given(
    st.integers(1, 3000), st.integers(1, 1200), st.integers(0, 200), st.sampled_from([1, 16, 32])
)
def test_tiles_use_every_pixel_once_and_see_their_halo(
    length: int, side: int, halo: int, grid: int
) -> None:
    cuts = tile_cuts(length, side, halo, grid)
    assert (used(cuts, length) == 1).all()
    for cut in cuts:
        assert cut.start % grid == 0 and cut.start >= 0 and cut.stop <= length
        assert cut.start == 0 or cut.first - cut.start >= halo
        assert cut.stop == length or cut.stop - cut.last >= halo


@given(st.integers(1, 700), st.integers(1, 300))
def test_blended_windows_reach_every_pixel_and_overlap_by_half(length: int, size: int) -> None:
    cuts = blend_cuts(length, size)
    assert (used(cuts, length) >= 1).all()
    assert {cut.stop - cut.start for cut in cuts} == {size}
    assert length <= size or (cuts[0].start == 0 and cuts[-1].stop == length)
    steps = np.diff([cut.start for cut in cuts])
    assert (steps <= max(1, -(-size // 2))).all() and (steps > 0).all()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(3, 48),
    st.sampled_from(["paper", "whole", "tiles", "blend"]),
)
def test_a_network_of_single_pixels_gives_the_same_by_all(
    height: int, width: int, size: int, kind: str
) -> None:
    image = (
        np.random.default_rng(height * width).integers(0, 256, (1, height, width)).astype(np.uint8)
    )

    def network(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, 1 - images], dim=1)

    windows = Windows(kind, 0 if kind == "whole" else size, 5, 4)
    scores = predict_scores(network, image, windows, 3, CPU)
    np.testing.assert_allclose(
        scores, np.concatenate([image, 255 - image]).astype(np.float32) / 255, atol=1e-5
    )
    np.testing.assert_array_equal(
        predict_slice(network, image, windows, 3, CPU), (image[0] < 128).astype(np.uint8)
    )


def test_weights_are_largest_in_the_middle_and_nowhere_0() -> None:
    weights = blend_weights(64)
    assert weights.shape == (64, 64) and weights.min() > 0
    assert weights[31, 31] == weights.max() and np.allclose(weights, weights[::-1, ::-1])
    expected = np.exp(-0.5 * ((0 - 31.5) / 8) ** 2) * np.exp(-0.5 * ((31 - 31.5) / 8) ** 2)
    assert weights[0, 31] == pytest.approx(max(expected, 1e-4))


@pytest.mark.parametrize("shape", [(400, 300), (333, 517)])
def test_tiles_of_a_unet_with_the_halo_of_its_receptive_field_are_the_whole_slice(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    network = create_model("unet", **UNET).eval()
    image = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    whole = predict_scores(network, image, Windows("whole", 0, 0, 1), 1, CPU)
    direct = network(torch.from_numpy(image).float()[None] / 255)[0].detach().numpy()
    np.testing.assert_allclose(whole, direct, atol=1e-5)
    tiles = Windows("tiles", 128, network.halo, network.stride)
    assert len(tiles.cuts(*shape)) >= 12
    np.testing.assert_allclose(predict_scores(network, image, tiles, 4, CPU), whole, atol=1e-5)
    short = predict_scores(network, image, Windows("tiles", 128, 16, network.stride), 4, CPU)
    assert np.abs(short - whole).max() > 1e-4  # the halo is needed


def test_squeeze_and_excitation_looks_over_the_whole_tile() -> None:
    torch.manual_seed(0)
    network = create_model("eunet", **EUNET).eval()
    image = np.random.default_rng(0).integers(0, 256, (2, 320, 320)).astype(np.uint8)
    whole = predict_scores(network, image, Windows("whole", 0, 0, 1), 1, CPU)
    windows = Windows("tiles", 64, network.halo, network.stride)
    tiles = predict_scores(network, image, windows, 1, CPU)
    assert whole.shape == (3, 320, 320) and np.abs(whole - tiles).max() > 1e-5
    for rows, columns in windows.cuts(320, 320)[
        ::7
    ]:  # each is what the network says of that tile alone
        seen = image[:, max(0, rows.start) : rows.stop, max(0, columns.start) : columns.stop]
        alone = network(torch.from_numpy(seen).float()[None] / 255)[0].detach().numpy()
        here = (slice(rows.first, rows.last), slice(columns.first, columns.last))
        inside = tuple(slice(c.first - c.start, c.last - c.start) for c in (rows, columns))
        np.testing.assert_allclose(tiles[:, *here], alone[:, *inside], atol=1e-6)


def test_blend_is_the_weighted_mean_of_its_windows() -> None:
    """Against a slow loop."""
    torch.manual_seed(0)
    network = probabilities(create_model("unet", **UNET).eval())
    image = np.random.default_rng(0).integers(0, 256, (2, 70, 100)).astype(np.uint8)
    total, weight = np.zeros((3, 70, 100)), blend_weights(64)
    sums = np.zeros((70, 100))
    for rows in blend_cuts(70, 64):
        for columns in blend_cuts(100, 64):
            window = image[:, rows.start : rows.stop, columns.start : columns.stop]
            with torch.no_grad():
                found = network(torch.from_numpy(window).float()[None] / 255)[0].numpy()
            total[:, rows.start : rows.stop, columns.start : columns.stop] += found * weight
            sums[rows.start : rows.stop, columns.start : columns.stop] += weight
    np.testing.assert_allclose(
        predict_scores(network, image, Windows("blend", 64, 0, 1), 5, CPU), total / sums, atol=1e-5
    )


def test_windows_that_a_model_cannot_have() -> None:
    model = trained([650], 2)
    assert (
        str(windows_of(model, "paper")) == "paper 32" and str(windows_of(model, "whole")) == "whole"
    )
    assert str(windows_of(model, "tiles")) == "tiles 1024"
    with pytest.raises(FibsegError, match="'none' is not known"):
        windows_of(model, "none")
    object.__setattr__(model, "filter_scope", "patch")
    with pytest.raises(FibsegError, match=r"filter\.scope=patch; take paper or blend"):
        windows_of(model, "whole")


def test_tiles_are_of_about_one_size() -> None:
    windows = Windows("whole", 0, 112, 16)
    assert len(windows.cuts(2048, 2048)) == 1
    assert {cut.last - cut.first for cut in tile_cuts(2050, 1024, 112, 16)} == {
        688,
        674,
    }  # three of about one size
