from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.checkpoints import save_whole
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.kinds import create_model
from fibseg.models.pretrained import imagenet_weights, load_encoder, read_weights
from fibseg.models.start import Start, start_from
from fibseg.models.trained import TrainedModel
from tests.support.models import SMALL_NETWORKS

B0 = "efficientnet_b0"


def pretrained() -> dict[str, Tensor]:
    """A timm network with statistics that are not those of a fresh one."""
    torch.manual_seed(7)
    network = timm.create_model(B0).train()
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    return network.state_dict()


def eunet(channels: int) -> EfficientUNet:
    torch.manual_seed(0)
    network = create_model("eunet", **SMALL_NETWORKS["eunet"] | {"channels": channels})
    assert isinstance(network, EfficientUNet)
    return network.eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_encoder_sees_a_grey_image_as_timm_sees_its_normalised_colours(channels: int) -> None:
    """Against timm's own network, its epsilon (1e-5, ours is 1e-3) and its normalisation of colours."""
    weights = pretrained()
    network = eunet(channels)
    told = load_encoder(network, weights, B0)
    assert told == [
        "its colours are taken to have mean [0.485, 0.456, 0.406] and deviation [0.229, 0.224, 0.225]"
    ]
    reference = timm.create_model(B0).eval()
    reference.load_state_dict(weights)
    mean, deviation = (
        torch.tensor(reference.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std")
    )
    grey = torch.rand(1, 1, 256, 256)
    with torch.inference_mode():
        expected = reference.bn1(
            reference.conv_stem((grey.expand(-1, 3, -1, -1) - mean) / deviation)
        )
        image = grey.expand(-1, channels, -1, -1)
        found = network.encoder.bn1(network.encoder.conv_stem(network.to_three(image)))
        inside = (
            ...,
            slice(1, -1),
            slice(1, -1),
        )  # zeros around the image are not those around the normalised one
        torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-4)
        after = (
            one.bn2(one.conv_head(one.blocks(expected))) for one in (network.encoder, reference)
        )
        torch.testing.assert_close(*after, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_adapted(channels: int) -> None:
    """Repeated and scaled, so that equal channels give activations of the usual size."""
    network = eunet(channels)
    weights = pretrained()
    load_encoder(network, weights, B0)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    repeated = torch.cat([weights["conv_stem.weight"] / deviation] * 2, 1)[:, :channels]
    kernel = repeated * 3 / channels
    torch.testing.assert_close(network.encoder.conv_stem.weight, kernel)
    mean = torch.tensor([0.485, 0.456, 0.406] * 2).view(1, 6, 1, 1)[:, :channels]
    shifted = weights["bn1.running_mean"] + (kernel * mean).sum((1, 2, 3))
    torch.testing.assert_close(network.encoder.bn1.running_mean, shifted)


def test_weights_come_from_safetensors_and_from_a_state_dict(tmp_path: Path) -> None:
    weights = pretrained()
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pth")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pth", "old.pth"):
        found = read_weights(tmp_path / name)
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_bad_weights_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FibsegError, match="does not exist"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(FibsegError, match="no file of weights"):
        read_weights(tmp_path / "cut.safetensors")
    save_whole({"a": Path}, tmp_path / "pickle.pth")
    with pytest.raises(FibsegError, match=r"pickle\.pth is no file of weights"):
        read_weights(tmp_path / "pickle.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(FibsegError, match="holds a list, expected a state dict"):
        read_weights(tmp_path / "list.pth")
    other = timm.create_model("efficientnet_b1").state_dict()
    with pytest.raises(
        FibsegError, match=r"no weights of efficientnet_b0: blocks\.0\.1\..* expected none"
    ):
        load_encoder(eunet(1), other, B0)
    with pytest.raises(
        FibsegError, match=r"no weights of efficientnet_b0: blocks\.0\.0\.bn1\.bias is missing"
    ):
        load_encoder(eunet(1), {}, B0)
    grey = timm.create_model(B0, in_chans=1).state_dict()
    with pytest.raises(
        FibsegError, match=r"conv_stem\.weight is \(32, 1, 3, 3\), expected \(32, 3, 3, 3\)"
    ):
        load_encoder(eunet(1), grey, B0)


def test_no_network_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        FibsegError, match=r"cannot be had \(no route to host\); give a file by model.weights=FILE"
    ):
        imagenet_weights(B0)


def model(
    name: str, classes: list[str], areas: list[int], seed: int, **changes: Any
) -> TrainedModel:
    arguments = (
        SMALL_NETWORKS[name] | {"classes": len(classes), "channels": 1 + len(areas)} | changes
    )
    torch.manual_seed(seed)
    network = create_model(name, **arguments)
    with torch.no_grad():  # statistics and biases that are not those of a start
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
    ours = model(name, CLASSES, [9], 1)
    theirs = model(name, CLASSES, [9], 2)
    assert start_from(ours, theirs) == []
    image = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(predicted(ours, image), predicted(theirs, image))


@pytest.mark.parametrize("name", ["unet", "eunet"])
def test_classes_are_matched_by_name(name: str) -> None:
    ours = model(name, ["background", "b", "c"], [], 1)
    theirs = model(name, CLASSES, [], 2)
    assert start_from(ours, theirs) == [
        "class c is new: its weights start at random",
        "class a of that run is left out",
    ]
    image = torch.rand(1, 1, 64, 64)
    found = predicted(ours, image)
    expected = predicted(theirs, image)
    torch.testing.assert_close(found[:, :2], expected[:, [0, 2]])


@pytest.mark.parametrize("name", ["unet", "eunet"])
def test_channels_are_matched_by_area(name: str) -> None:
    ours = model(name, CLASSES, [70, 9], 1)
    theirs = model(name, CLASSES, [9], 2)
    assert start_from(ours, theirs) == ["channel grain 70 is new: its weights start at random"]
    image = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        dict(ours.network.named_parameters())[ours.network.entry][:, 1] = 0  # the new one
    torch.testing.assert_close(predicted(ours, image[:, [0, 1, 1]]), predicted(theirs, image))


def test_unets_channels_can_be_left_out() -> None:
    ours = model("unet", CLASSES, [], 1)
    theirs = model("unet", CLASSES, [9, 70], 2)
    assert start_from(ours, theirs) == [
        "channel grain 9 of that run is left out",
        "channel grain 70 of that run is left out",
    ]
    image = torch.rand(1, 1, 64, 64)
    nothing = torch.zeros(1, 2, 64, 64)
    torch.testing.assert_close(
        predicted(ours, image), predicted(theirs, torch.cat([image, nothing], 1))
    )


def test_an_efficient_unets_step_to_three_is_worked_in_and_taken_out() -> None:
    one = model("eunet", CLASSES, [], 1)
    three = model("eunet", CLASSES, [9, 70], 2)
    image = torch.rand(1, 1, 64, 64)
    start_from(one, three)
    nothing = torch.zeros(1, 2, 64, 64)
    torch.testing.assert_close(
        predicted(one, image), predicted(three, torch.cat([image, nothing], 1))
    )

    one = model("eunet", CLASSES, [], 3)
    three = model("eunet", CLASSES, [9, 70], 4)
    start_from(three, one)
    stem_of_one = one.network.encoder
    stem_of_three = three.network.encoder
    with torch.inference_mode():
        before = stem_of_one.bn1(stem_of_one.conv_stem(one.network.to_three(image)))
        after = stem_of_three.bn1(stem_of_three.conv_stem(torch.cat([image, nothing], 1)))
    torch.testing.assert_close(
        after[..., 1:, 1:], before[..., 1:, 1:]
    )  # zeros around it see no bias


def test_another_network_is_refused() -> None:
    with pytest.raises(FibsegError, match=r"model\.width=4, this one 8"):
        start_from(model("unet", CLASSES, [], 1, width=8), model("unet", CLASSES, [], 2))
    with pytest.raises(FibsegError, match=r"model\.architecture=eunet, this one unet"):
        start_from(model("unet", CLASSES, [], 1), model("eunet", CLASSES, [], 2))


def test_changed_settings_are_told() -> None:
    ours = model("unet", CLASSES, [9], 1, norm_eps=1e-5)
    theirs = model("unet", CLASSES, [9], 2)
    theirs = replace(theirs, channels=Channels((9,), "patch"))
    assert start_from(ours, theirs) == [
        "model.norm_eps was 0.001, is 1e-05",
        "filter.scope was patch, is slice",
    ]


def test_a_start_is_known_by_its_weights() -> None:
    ours, theirs = (Start("", run=model("unet", CLASSES, [], seed)) for seed in (1, 2))
    assert ours.identity() != theirs.identity()
    assert ours.identity() == Start("elsewhere", run=ours.run).identity()
    weights = pretrained()
    assert (
        Start("", encoder=weights).identity()
        != Start("", encoder=weights | {"bn1.bias": torch.ones(32)}).identity()
    )
