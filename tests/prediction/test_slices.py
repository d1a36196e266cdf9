"""A network over a slice: each pixel from its window, whatever the windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fibseg.models.kinds import create_model
from fibseg.prediction.slices import Network, WindowedNetwork, probabilities
from fibseg.prediction.windows import Windows, blend_cuts, blend_weights
from tests.support.labelling import CPU

WHOLE = Windows("whole", 0, 0, 1)
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


def by_windows(network: Network, windows: Windows, batch_size: int) -> WindowedNetwork:
    return WindowedNetwork(network, windows, replace(CPU, batch_size=batch_size))


def paper(size: int) -> Windows:
    return Windows("paper", size, 0, 1)


def random_slice(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def brightness(images: torch.Tensor) -> torch.Tensor:
    """A network that sees one pixel at a time: the logits are its grey value in four steps."""
    steps = (images[:, :1] * 255).round() % 4
    return torch.cat([(steps == k).float() for k in range(4)], dim=1)


@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (5, 7), (1, 1), (1, 90), (130, 131)])
@pytest.mark.parametrize("size", [32, 48, 50])
def test_every_pixel_is_written_once_at_its_place(shape: tuple[int, int], size: int) -> None:
    image = random_slice(*shape)
    labels = by_windows(brightness, paper(size), 3).labels(image[None])
    np.testing.assert_array_equal(labels, image % 4)


def test_each_pixel_comes_from_the_window_whose_centre_holds_it() -> None:
    """Against a slow loop over windows, with a network that looks far: it takes off their mean."""

    def network(images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(-2, -1), keepdim=True)
        return torch.cat([mean - images, images - mean], dim=1)

    image = random_slice(70, 90)
    size = 30
    third = 10
    padded = np.pad(image, ((third, 60), (third, 60)), mode="reflect").astype(np.float32) / 255
    expected = np.zeros_like(image)
    for row in range(0, 70, third):
        for column in range(0, 90, third):
            window = torch.from_numpy(padded[row : row + size, column : column + size])[None, None]
            kept = network(window).argmax(1)[0, third : 2 * third, third : 2 * third]
            expected[row : row + third, column : column + third] = kept
    labels = by_windows(network, paper(size), 7).labels(image[None])
    np.testing.assert_array_equal(labels, expected)


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
    generator = np.random.default_rng(height * width)
    image = generator.integers(0, 256, (1, height, width)).astype(np.uint8)

    def network(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, 1 - images], dim=1)

    windows = Windows(kind, 0 if kind == "whole" else size, 5, 4)
    windowed = by_windows(network, windows, 3)
    expected = np.concatenate([image, 255 - image]).astype(np.float32) / 255
    np.testing.assert_allclose(windowed.scores(image), expected, atol=1e-5)
    np.testing.assert_array_equal(windowed.labels(image), (image[0] < 128).astype(np.uint8))


@pytest.mark.parametrize("shape", [(400, 300), (333, 517)])
def test_tiles_of_a_unet_with_the_halo_of_its_receptive_field_are_the_whole_slice(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    network: Any = create_model("unet", **UNET).eval()
    image = random_slice(2, *shape)
    whole = by_windows(network, WHOLE, 1).scores(image)
    with torch.no_grad():
        direct = network(torch.from_numpy(image).float()[None] / 255)[0].numpy()
    np.testing.assert_allclose(whole, direct, atol=1e-5)
    tiles = Windows("tiles", 128, network.halo, network.stride)
    assert len(tiles.cuts(*shape)) >= 12
    np.testing.assert_allclose(by_windows(network, tiles, 4).scores(image), whole, atol=1e-5)
    # The halo is needed.
    short = by_windows(network, Windows("tiles", 128, 16, network.stride), 4).scores(image)
    assert np.abs(short - whole).max() > 1e-4


def test_squeeze_and_excitation_looks_over_the_whole_tile() -> None:
    """Each tile is what the network says of that tile alone, not what it says of the slice."""
    torch.manual_seed(0)
    network: Any = create_model("eunet", **EUNET).eval()
    image = random_slice(2, 64, 320)
    whole = by_windows(network, WHOLE, 1).scores(image)
    windows = Windows("tiles", 64, network.halo, network.stride)
    tiles = by_windows(network, windows, 1).scores(image)
    assert whole.shape == (3, 64, 320) and np.abs(whole - tiles).max() > 1e-5
    for rows, columns in windows.cuts(64, 320)[::2]:
        tile = image[:, max(0, rows.start) : rows.stop, max(0, columns.start) : columns.stop]
        with torch.no_grad():
            alone = network(torch.from_numpy(tile).float()[None] / 255)[0].numpy()
        here = (slice(rows.first, rows.last), slice(columns.first, columns.last))
        inside = tuple(
            slice(cut.first - cut.start, cut.last - cut.start) for cut in (rows, columns)
        )
        np.testing.assert_allclose(tiles[:, *here], alone[:, *inside], atol=1e-6)


def test_blend_is_the_weighted_mean_of_its_windows() -> None:
    """Against a slow loop."""
    torch.manual_seed(0)
    network = probabilities(create_model("unet", **UNET).eval())
    image = random_slice(2, 70, 100)
    weight = blend_weights(64)
    total = np.zeros((3, 70, 100))
    weights = np.zeros((70, 100))
    for rows in blend_cuts(70, 64):
        for columns in blend_cuts(100, 64):
            window = image[:, rows.start : rows.stop, columns.start : columns.stop]
            with torch.no_grad():
                scores = network(torch.from_numpy(window).float()[None] / 255)[0].numpy()
            total[:, rows.start : rows.stop, columns.start : columns.stop] += scores * weight
            weights[rows.start : rows.stop, columns.start : columns.stop] += weight
    blended = by_windows(network, Windows("blend", 64, 0, 1), 5).scores(image)
    np.testing.assert_allclose(blended, total / weights, atol=1e-5)
