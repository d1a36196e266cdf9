"""The networks: the counts of the paper, shapes, gradients, starts, and reach of a pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from fibseg.errors import FibsegError
from fibseg.models.efficient_unet import ENCODERS, EfficientUNet
from fibseg.models.kinds import create_model
from fibseg.training.losses import DiceLoss
from tests.support.models import PAPER_NETWORKS, SMALL_NETWORKS

BOTH = pytest.mark.parametrize("name", ["unet", "eunet"])


def small(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **SMALL_NETWORKS[name] | changes)


def numbers(network: nn.Module) -> tuple[int, int]:
    """Trainable parameters, and all with batch norm statistics."""
    trainable = sum(p.numel() for p in network.parameters())
    return trainable, trainable + sum(
        b.numel() for name, b in network.named_buffers() if "num_batches" not in name
    )


@pytest.mark.parametrize(
    ("channels", "trainable", "with_statistics"),
    [(1, 31_042_564, 31_054_340), (3, 31_043_716, 31_055_492)],
)
def test_unet_has_the_papers_parameters(
    channels: int, trainable: int, with_statistics: int
) -> None:
    with torch.device("meta"):
        assert numbers(create_model("unet", channels=channels, **PAPER_NETWORKS["unet"])) == (
            trainable,
            with_statistics,
        )


def test_unet_parameters_by_layer() -> None:
    """3 x 3 convolutions with biases, 2 x 2 transposed ones, counted by hand."""
    with torch.device("meta"):
        network = create_model("unet", channels=1, **PAPER_NETWORKS["unet"])
    counts = [
        sum(p.numel() for p in block.parameters()) for block in [*network.down, network.deepest]
    ]
    widths = [1, 64, 128, 256, 512, 1024]
    norms = 2 * 2  # weight and bias of two batch norms
    expected = [9 * i * o + o + 9 * o * o + o + norms * o for i, o in pairwise(widths)]
    assert counts == expected
    assert [sum(p.numel() for p in up.parameters()) for up in network.up] == [
        4 * 2 * w * w + w for w in (512, 256, 128, 64)
    ]


def test_efficient_unet_has_the_papers_numbers() -> None:
    with torch.device("meta"):
        _, with_statistics = numbers(create_model("eunet", channels=3, **PAPER_NETWORKS["eunet"]))
        one_channel, _ = numbers(create_model("eunet", channels=1, **PAPER_NETWORKS["eunet"]))
        three_channels, _ = numbers(create_model("eunet", channels=3, **PAPER_NETWORKS["eunet"]))
    # Keras counts 33,005,123, with 7 of a normalisation layer.
    assert with_statistics == 33_005_116
    # The 1 x 1 convolution to three channels, and its bias.
    assert one_channel - three_channels == 3 * 1 + 3


def test_efficient_unet_decoder_by_layer() -> None:
    """One 3 x 3 convolution with bias and one batch norm per level: inputs are [up, skip]."""
    with torch.device("meta"):
        network = create_model("eunet", channels=3, **PAPER_NETWORKS["eunet"])
    inputs = [1792 + 960, 512 + 336, 256 + 192, 128 + 144, 64]
    outputs = [512, 256, 128, 64, 32]
    counts = [sum(p.numel() for p in level.parameters()) for level in network.decoder]
    assert counts == [9 * i * o + o + 2 * o for i, o in zip(inputs, outputs, strict=True)]
    assert [type(layer).__name__ for layer in network.decoder[0]] == [
        "Conv2d",
        "ReLU",
        "BatchNorm2d",
        "ReLU",
    ]


@pytest.mark.parametrize("encoder", [*ENCODERS[:8], "tf_efficientnet_b0"])
def test_skips_are_timms_expanded_activations(encoder: str) -> None:
    """Hooks on timm's forward pass record what `encode` must repeat."""
    torch.manual_seed(0)
    network = create_model(
        "eunet", channels=3, **PAPER_NETWORKS["eunet"] | {"encoder": encoder, "width": 2}
    ).eval()
    activations: list[Tensor] = []
    for block in (1, 2, 3, 5):
        network.encoder.blocks[block][0].bn1.register_forward_hook(
            lambda _module, _inputs, output: activations.append(output.clone())
        )
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        top = network.encoder.forward_features(image)
        expected = [*activations, top]
        skips, deepest = network.encode(image)
    assert [tuple(features.shape) for features in [*skips, deepest]] == [
        (1, channels, 64 // stride, 64 // stride) for channels, stride in network.skips
    ]
    for features, recorded in zip([*skips, deepest], expected, strict=True):
        torch.testing.assert_close(features, recorded)


def test_skips_of_the_paper() -> None:
    with torch.device("meta"):
        network = create_model("eunet", channels=3, **PAPER_NETWORKS["eunet"])
    assert network.skips == [(144, 2), (192, 4), (336, 8), (960, 16), (1792, 32)]


def test_stochastic_depth_rises_over_the_blocks() -> None:
    with torch.device("meta"):
        network = create_model("eunet", channels=3, **PAPER_NETWORKS["eunet"])
    blocks = [block for stage in network.encoder.blocks for block in stage]
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.2 * i / len(blocks) for i in range(len(blocks))])


def test_encoder_norms_are_the_configurations() -> None:
    network = small("eunet", norm_momentum=0.3)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.3, 1e-3)}


@BOTH
@pytest.mark.parametrize("size", [(32, 32), (48, 80), (17, 33), (1, 1), (100, 31)])
def test_any_size_comes_out_as_it_went_in(name: str, size: tuple[int, int]) -> None:
    assert small(name).eval()(torch.rand(2, 1, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@BOTH
def test_any_number_of_channels(name: str, channels: int) -> None:
    assert small(name, channels=channels).eval()(torch.rand(1, channels, 32, 32)).shape == (
        1,
        4,
        32,
        32,
    )


@pytest.mark.parametrize(
    ("order", "kinds"),
    [
        ("relu_norm", ["Conv2d", "ReLU", "BatchNorm2d"]),
        ("norm_relu", ["Conv2d", "BatchNorm2d", "ReLU"]),
    ],
)
def test_order_of_a_block_and_dropout_in_the_deepest_only(order: str, kinds: list[str]) -> None:
    network = small("unet", block_order=order)
    assert [type(layer).__name__ for layer in network.down[0]] == kinds * 2
    dropouts = [name for name, layer in network.named_modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == ["deepest.1"]
    norm = next(layer for layer in network.down[0] if isinstance(layer, nn.BatchNorm2d))
    assert (norm.momentum, norm.eps) == (0.01, 1e-3)


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
def test_every_parameter_gets_a_gradient(name: str, channels: int) -> None:
    network = small(name, channels=channels, **({"drop_path": 0.0} if name == "eunet" else {}))
    network(torch.rand(4, channels, 64, 64)).square().mean().backward()
    dead = [
        key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert not dead


def influence(network: nn.Module) -> Tensor:
    """Rows of a 256 x 256 image that the pixel in its middle depends on."""
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    network.eval()(image)[0, :, 128, 128].sum().backward()
    return torch.nonzero(image.grad[0, 0].abs().sum(1)).flatten()


def test_a_unets_pixel_reaches_94_pixels_far() -> None:
    rows = influence(small("unet"))
    assert 70 <= 128 - rows.min() <= 94
    assert 70 <= rows.max() - 128 <= 94


def test_an_efficient_unets_pixel_depends_on_the_whole_patch() -> None:
    """Squeeze-and-excitation averages over it."""
    rows = influence(small("eunet"))
    assert (rows.min().item(), rows.max().item()) == (0, 255)


@pytest.mark.slow(seconds=3)
def test_he_normal_start() -> None:
    """As he_normal of Keras: a normal distribution cut at two deviations, and its fan-in."""
    unet = small("unet", width=32)
    eunet = small("eunet", width=32)
    for weight, fan_in in (
        (unet.merge[0][0].weight, 512 * 9),
        # The fan-in of a transposed convolution is that of its outputs.
        (unet.up[0].weight, 256 * 4),
        (eunet.decoder[1][0].weight, (8 * 32 + 240) * 9),
    ):
        deviation = (2 / fan_in) ** 0.5
        assert weight.std().item() == pytest.approx(deviation, rel=0.01)
        assert 1.9 < weight.abs().max() / (deviation / 0.8796) <= 2.0001
    assert not unet.merge[0][0].bias.any()


def test_encoder_starts_as_efficientnet_does() -> None:
    """Tan and Le: normal weights of deviation sqrt(2 / fan out), as Keras."""
    network = small("eunet")
    weight = network.encoder.blocks[6][0].conv_pw.weight  # (1152, 192, 1, 1)
    assert weight.std().item() == pytest.approx((2 / 1152) ** 0.5, rel=0.02)


@BOTH
@pytest.mark.slow(seconds=8)
def test_learns_one_batch_by_heart(name: str) -> None:
    """Dice above .95 on every class."""
    changes = {"unet": {"dropout": 0.0, "width": 8}, "eunet": {"drop_path": 0.0, "width": 16}}[name]
    network = small(name, norm_momentum=0.1, **changes)
    target = torch.zeros(2, 64, 64, dtype=torch.long)
    target[:, 8:24, 8:24] = 1
    target[:, 34:42] = 2
    target[:, 46:60, 5:50] = 3
    images = target[:, None] / 3 + 0.1 * torch.rand(2, 1, 64, 64)
    loss = DiceLoss([1.0] * 4, 255, 1.0)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range({"unet": 80, "eunet": 40}[name]):
        value = loss(network(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    predicted = network(images).argmax(1)
    for k in range(4):
        labelled = predicted == k
        truth = target == k
        assert 2 * (labelled & truth).sum() / (labelled.sum() + truth.sum()) > 0.95


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_output_is_equal() -> None:
    network = small("unet").eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        plain = network(image)
        # The C++ compiler takes most of a minute: the graph is captured and run without it.
        network.compile(backend="aot_eager")
        compiled = network(image)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


def test_wrong_names_and_arguments() -> None:
    with pytest.raises(
        FibsegError,
        match="model 'vgg' is not known; expected one of unet, eunet, encoder_unet, forest",
    ):
        create_model("vgg")
    with pytest.raises(FibsegError, match="does not fit its arguments"):
        create_model("unet", depth=3)
    with pytest.raises(
        FibsegError, match="'efficientnet_b44' is not known; the nearest are efficientnet_b4"
    ):
        create_model("eunet", **SMALL_NETWORKS["eunet"] | {"encoder": "efficientnet_b44"})
    with pytest.raises(
        FibsegError, match="'relu' is not known; expected one of relu_norm, norm_relu"
    ):
        create_model("unet", **SMALL_NETWORKS["unet"] | {"block_order": "relu"})


def test_encoders_are_timms() -> None:
    assert set(ENCODERS) <= set(timm.list_models("*efficientnet_b?"))
    assert isinstance(small("eunet"), EfficientUNet)
