"""A training that starts from another run: classes and channels are matched by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.kinds import create_model
from fibseg.models.start import Start, start_from
from fibseg.models.trained import TrainedModel
from tests.support.models import SMALL_NETWORKS


def model(
    name: str, classes: list[str], areas: list[int], seed: int, **changes: Any
) -> TrainedModel:
    arguments = (
        SMALL_NETWORKS[name] | {"classes": len(classes), "channels": 1 + len(areas)} | changes
    )
    torch.manual_seed(seed)
    network = create_model(name, **arguments)
    # Statistics and biases that are not those of a random start.
    with torch.no_grad():
        network.train()(torch.rand(4, 1 + len(areas), 64, 64))
        for key, parameter in network.named_parameters():
            if key.endswith("bias"):
                parameter.add_(0.1 * torch.rand_like(parameter))
    values = list(range(len(classes)))
    return TrainedModel(
        network=network.eval(),
        architecture=name,
        arguments=arguments,
        class_names=classes,
        label_values=values,
        channels=Channels(tuple(areas)),
        grey_range=GreyRange(0, 255),
        voxel_sizes=[[1, 1, 1]],
        patch_size=64,
        precision="32",
    )


CLASSES = ["background", "a", "b"]


def predicted(model: TrainedModel, image: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model.network(image)
        return logits


@pytest.mark.parametrize("name", ["unet", "eunet"])
def test_the_same_run_is_repeated_exactly(name: str) -> None:
    target = model(name, CLASSES, [9], 1)
    source = model(name, CLASSES, [9], 2)
    assert start_from(target, source) == []
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(predicted(target, image), predicted(source, image))


@pytest.mark.parametrize("name", ["unet", "eunet"])
def test_classes_are_matched_by_name(name: str) -> None:
    target = model(name, ["background", "b", "c"], [], 1)
    source = model(name, CLASSES, [], 2)
    assert start_from(target, source) == [
        "class c is new: its weights start at random",
        "class a of that run is left out",
    ]
    image = torch.rand(1, 1, 64, 64)
    expected = predicted(source, image)
    torch.testing.assert_close(predicted(target, image)[:, :2], expected[:, [0, 2]])


@pytest.mark.parametrize("name", ["unet", "eunet"])
def test_channels_are_matched_by_area(name: str) -> None:
    target = model(name, CLASSES, [70, 9], 1)
    source = model(name, CLASSES, [9], 2)
    assert start_from(target, source) == ["channel grain 70 is new: its weights start at random"]
    image = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        # The new channel is made to count for nothing.
        dict(target.network.named_parameters())[target.network.entry][:, 1] = 0
    torch.testing.assert_close(predicted(target, image[:, [0, 1, 1]]), predicted(source, image))


def test_unets_channels_can_be_left_out() -> None:
    target = model("unet", CLASSES, [], 1)
    source = model("unet", CLASSES, [9, 70], 2)
    assert start_from(target, source) == [
        "channel grain 9 of that run is left out",
        "channel grain 70 of that run is left out",
    ]
    image = torch.rand(1, 1, 64, 64)
    nothing = torch.zeros(1, 2, 64, 64)
    torch.testing.assert_close(
        predicted(target, image), predicted(source, torch.cat([image, nothing], 1))
    )


def test_an_efficient_unets_step_to_three_is_worked_in_and_taken_out() -> None:
    narrow = model("eunet", CLASSES, [], 1)
    wide = model("eunet", CLASSES, [9, 70], 2)
    image = torch.rand(1, 1, 64, 64)
    start_from(narrow, wide)
    nothing = torch.zeros(1, 2, 64, 64)
    torch.testing.assert_close(
        predicted(narrow, image), predicted(wide, torch.cat([image, nothing], 1))
    )

    narrow = model("eunet", CLASSES, [], 3)
    wide = model("eunet", CLASSES, [9, 70], 4)
    start_from(wide, narrow)
    narrow_stem = narrow.network.encoder
    wide_stem = wide.network.encoder
    with torch.inference_mode():
        before = narrow_stem.bn1(narrow_stem.conv_stem(narrow.network.to_three(image)))
        after = wide_stem.bn1(wide_stem.conv_stem(torch.cat([image, nothing], 1)))
    # Beside the border: zeros around the image get no bias there.
    torch.testing.assert_close(after[..., 1:, 1:], before[..., 1:, 1:])


def test_another_network_is_refused() -> None:
    with pytest.raises(FibsegError, match=r"model\.width=4, this one 8"):
        start_from(model("unet", CLASSES, [], 1, width=8), model("unet", CLASSES, [], 2))
    with pytest.raises(FibsegError, match=r"model\.architecture=eunet, this one unet"):
        start_from(model("unet", CLASSES, [], 1), model("eunet", CLASSES, [], 2))


def test_changed_settings_are_reported() -> None:
    target = model("unet", CLASSES, [9], 1, norm_eps=1e-5)
    source = model("unet", CLASSES, [9], 2)
    source = replace(source, channels=Channels((9,), "patch"))
    assert start_from(target, source) == [
        "model.norm_eps was 0.001, is 1e-05",
        "filter.scope was patch, is slice",
    ]


def test_a_start_is_known_by_its_weights() -> None:
    first = Start("", run=model("unet", CLASSES, [], 1))
    second = Start("", run=model("unet", CLASSES, [], 2))
    assert first.identity() != second.identity()
    assert first.identity() == Start("elsewhere", run=first.run).identity()
    encoder = Start("", encoder={"bn1.bias": torch.zeros(32)})
    assert encoder.identity() != Start("", encoder={"bn1.bias": torch.ones(32)}).identity()
