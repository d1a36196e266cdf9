"""What a prediction will take: memory against what torch has at one time, and seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fibseg.models.kinds import create_model
from fibseg.models.trained import TrainedModel
from fibseg.prediction.estimate import LiveBytes, activation_bytes, estimate, seconds_per_slice
from fibseg.prediction.windows import windows_of
from tests.support.labelling import CPU, labeller, random_image
from tests.support.models import SMALL_NETWORKS, trained


def test_bytes_of_a_chain_by_hand() -> None:
    """Each layer holds its input and its output; a tensor that was freed does not count."""
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 4, 1)).to("meta")
    with torch.inference_mode(), LiveBytes() as counted:
        pixels = torch.empty(1, 1, 10, 10, device="meta")
        first = chain[0](pixels)
        second = chain[1](first)
        del first
        third = chain[2](second).relu_()
        view = third[:, :1]
    assert counted.peak == 4 * 100 * (1 + 8 + 2)
    assert counted.live == 4 * 100 * (1 + 2 + 4) and view.shape == (1, 1, 10, 10)
    del view, third, second, pixels
    assert counted.live == 0


def unet() -> TrainedModel:
    return trained([], 1)


def eunet() -> TrainedModel:
    arguments = SMALL_NETWORKS["eunet"]
    return replace(
        trained([], 1),
        network=create_model("eunet", **arguments),
        architecture="eunet",
        arguments=arguments,
    )


@pytest.mark.parametrize("make", [unet, eunet])
def test_bytes_grow_with_the_windows_and_are_those_of_real_tensors(
    make: Callable[[], TrainedModel],
) -> None:
    model = make()
    whole = labeller(model)
    channels = int(model.arguments["channels"])
    expected = activation_bytes(whole, 128, 160)
    with torch.inference_mode(), LiveBytes() as counted:
        model.network(torch.zeros(1, channels, 128, 160))
    assert expected == pytest.approx(counted.peak, rel=1e-3) and expected > 4 * 128 * 160
    assert activation_bytes(whole, 256, 320) == pytest.approx(4 * expected, rel=0.1)
    half = labeller(model, compute=replace(CPU, precision="bf16"))
    assert activation_bytes(half, 128, 160) == pytest.approx(expected / 2, rel=0.1)
    two_windows = replace(CPU, batch_size=2)
    paper = labeller(model, compute=two_windows, windows=windows_of(model, "paper"))
    assert activation_bytes(paper, 128, 160) < expected


def test_a_sentence_says_time_and_memory() -> None:
    filtering = labeller(trained([20], 2))
    pixels = random_image()[0]
    seconds = seconds_per_slice(filtering, pixels)
    assert 0 < seconds < 60
    sentence = estimate(filtering, np.tile(pixels, (2, 2)), 10**6)
    assert " s a slice, " in sentence and " minutes); " in sentence
    assert sentence.endswith(" GB for activations")
