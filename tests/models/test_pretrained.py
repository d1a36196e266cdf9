"""Weights of an encoder from timm, from files, and adapted to other channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import save_whole
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.kinds import create_model
from fibseg.models.pretrained import load_encoder
from fibseg.models.weight_files import imagenet_weights, read_weights
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
    """Against timm, with its normalisation of colours; its epsilon is 1e-5, not 1e-3."""
    weights = pretrained()
    network = eunet(channels)
    (message,) = load_encoder(network, weights, B0)
    assert "mean [0.485, 0.456, 0.406] and deviation [0.229, 0.224, 0.225]" in message
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
        stem = network.encoder.bn1(network.encoder.conv_stem(network.to_three(image)))
        # Zeros around the image are not those around the normalised one.
        inside = (..., slice(1, -1), slice(1, -1))
        torch.testing.assert_close(stem[inside], expected[inside], rtol=1e-4, atol=1e-4)
        tops = [
            encoder.bn2(encoder.conv_head(encoder.blocks(expected)))
            for encoder in (network.encoder, reference)
        ]
        torch.testing.assert_close(*tops, rtol=1e-3, atol=1e-3)


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
        read = read_weights(tmp_path / name)
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[key], weights[key]) for key in weights)


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
