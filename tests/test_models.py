from __future__ import annotations

from typing import Any

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.losses import DiceLoss
from fibseg.models import create_model

PAPER = {"classes": 4, "width": 64, "dropout": 0.5, "norm_momentum": 0.01, "norm_eps": 1e-3}
SMALL: dict[str, Any] = PAPER | {"width": 4, "channels": 1}


@pytest.mark.parametrize(
    ("channels", "trainable", "with_statistics"), [(1, 31_042_564, 31_054_340), (3, 31_043_716, 31_055_492)]
)
def test_unet_has_the_papers_parameters(channels: int, trainable: int, with_statistics: int) -> None:
    with torch.device("meta"):
        network = create_model("unet", channels=channels, **PAPER)
    assert sum(p.numel() for p in network.parameters()) == trainable
    statistics = sum(b.numel() for name, b in network.named_buffers() if "num_batches" not in name)
    assert trainable + statistics == with_statistics


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (17, 33), (1, 1), (100, 31)])
def test_any_size_comes_out_as_it_went_in(size: tuple[int, int]) -> None:
    network = create_model("unet", **SMALL).eval()
    assert network(torch.rand(2, 1, *size)).shape == (2, 4, *size)


def test_order_is_convolution_relu_norm_and_dropout_is_in_the_deepest_block_only() -> None:
    network = create_model("unet", **SMALL)
    kinds = [type(layer).__name__ for layer in network.down[0]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d"] * 2
    dropouts = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropouts == ["deepest.1"]
    norm = network.down[0][2]
    assert (norm.momentum, norm.eps) == (0.01, 1e-3)


def test_every_parameter_gets_a_gradient() -> None:
    network = create_model("unet", **SMALL)
    torch.manual_seed(0)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_pixel_reaches_94_pixels_far() -> None:
    network = create_model("unet", **SMALL).eval()
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    network(image)[0, :, 128, 128].sum().backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(1)).flatten()
    assert 70 <= 128 - rows.min() <= 94
    assert 70 <= rows.max() - 128 <= 94


def test_he_normal_start() -> None:
    torch.manual_seed(0)
    network = create_model("unet", **SMALL | {"width": 32})
    weight = network.merge[0][0].weight  # 512 inputs of 3 x 3
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert not network.merge[0][0].bias.any()


def test_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    network = create_model("unet", **SMALL | {"width": 8, "dropout": 0.0, "norm_momentum": 0.1})
    target = torch.zeros(2, 48, 48, dtype=torch.long)
    target[:, 8:20, 8:20], target[:, 30:34], target[:, 38:46, 5:40] = 1, 2, 3
    images = target[:, None] / 3 + 0.1 * torch.rand(2, 1, 48, 48)
    loss = DiceLoss([1.0] * 4, 255)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(60):
        value = loss(network(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 0.05


def test_wrong_names_and_arguments() -> None:
    with pytest.raises(FibsegError, match="model 'vgg' is not known; expected unet"):
        create_model("vgg")
    with pytest.raises(FibsegError, match="does not fit its arguments"):
        create_model("unet", depth=3)
