"""What a prediction will take: memory against what torch has at one time, and seconds that follow the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fibseg.models.kinds import create_model
from fibseg.models.trained import TrainedModel
from fibseg.prediction.estimate import LiveBytes, activation_bytes, estimate, seconds_per_slice
from fibseg.prediction.windows import windows_of
from tests.support.labelling import labeller, random_image
from tests.support.models import SMALL_NETWORKS, trained


def test_bytes_of_a_chain_by_hand() -> None:
    """Each layer holds its input and its output; what nobody holds any more does not count."""
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 4, 1)).to("meta")
    with torch.inference_mode(), LiveBytes() as counted:
        pixels = torch.empty(1, 1, 10, 10, device="meta")
        one = chain[0](pixels)
        two = chain[1](one)
        del one
        three = chain[2](two).relu_()
        view = three[:, :1]
    assert counted.peak == 4 * 100 * (1 + 8 + 2)
    assert counted.live == 4 * 100 * (1 + 2 + 4) and view.shape == (1, 1, 10, 10)
    del view, three, two, pixels
    assert counted.live == 0


def eunet() -> TrainedModel:
    arguments = SMALL_NETWORKS["eunet"]
    return replace(
        trained([], 1),
        network=create_model("eunet", **arguments),
        architecture="eunet",
        arguments=arguments,
    )


def test_bytes_grow_with_the_windows_and_are_those_of_real_tensors() -> None:
    for model in (trained([], 1), eunet()):
        ours = labeller(model)
        channels = int(model.arguments["channels"])
        found = activation_bytes(ours, 128, 160)
        with torch.inference_mode(), LiveBytes() as counted:
            model.network(torch.zeros(1, channels, 128, 160))
        assert found == pytest.approx(counted.peak, rel=1e-3) and found > 4 * 128 * 160
        assert activation_bytes(ours, 256, 320) == pytest.approx(4 * found, rel=0.1)
        assert activation_bytes(replace(ours, precision="bf16"), 128, 160) == pytest.approx(
            found / 2, rel=0.1
        )
        paper = replace(ours, windows=windows_of(model, "paper"), batch_size=2)
        assert activation_bytes(paper, 128, 160) < found


def test_a_sentence_tells_time_and_memory() -> None:
    ours = labeller(trained([20], 2))
    pixels = random_image()[0]
    seconds = seconds_per_slice(ours, pixels)
    assert 0 < seconds < 60
    told = estimate(ours, np.tile(pixels, (2, 2)), 10**6)
    assert " s a slice, " in told and " minutes); " in told and told.endswith(" GB for activations")
