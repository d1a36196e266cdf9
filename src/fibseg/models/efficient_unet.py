"""EfficientUNet of Meyer et al., ISBI 2021: the encoder of EfficientNet, the decoder of a UNet.

Encoder: Tan and Le, ICML 2019 (arXiv:1905.11946), from timm. Skips are the expanded activations at the head of each
stage that halves the sides, not the outputs of stages; there is none at full resolution. Stochastic depth: Huang et
al., ECCV 2016 (doi:10.1007/978-3-319-46493-0_39).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.errors import FibsegError
from fibseg.models.unet import he_normal

if TYPE_CHECKING:  # a UNet needs no timm
    from timm.models.efficientnet import EfficientNet


ENCODERS = tuple(f"{prefix}efficientnet_b{size}" for prefix in ("", "tf_") for size in range(8))
"""Names in timm; `tf_` pads at one side as TensorFlow does, and has ImageNet weights for every size."""


class EfficientUNet(nn.Module):
    """EfficientNet-B0 to B7, and four levels of one 3x3 convolution up to half the sides, a fifth at full resolution.

    Encoder `efficientnet_b4` and width 64 are the paper's: 33,005,116 numbers for three channels and four classes,
    batch norm statistics included. One channel passes a learned 1x1 convolution to three first. Squeeze-and-excitation
    averages over the whole input, so the output depends a little on the size of a patch.

    Attributes:
        stride: how much smaller the deepest activations are than the input, per side.
        entry: name of the weights that see the channels first, or the three that one channel becomes.
        halo: what a tile shows around its centre, in pixels; an output looks over the whole input, since
            squeeze-and-excitation averages over it.
        skips: (channels, stride) of each skip, shallow first, the deepest activations last.
    """

    stride = 32
    halo = 128
    entry = "encoder.conv_stem.weight"

    def __init__(
        self,
        channels: int,
        classes: int,
        encoder: str,
        width: int,
        drop_path: float,
        norm_momentum: float,
        norm_eps: float,
    ):
        """`drop_path` is the rate that stochastic depth rises to; `norm_momentum` the share of the new batch."""
        super().__init__()
        self.to_three = nn.Conv2d(1, 3, 1) if channels == 1 else nn.Identity()
        self.encoder = make_encoder(
            encoder,
            in_chans=3 if channels == 1 else channels,
            drop_path_rate=drop_path,
            bn_momentum=norm_momentum,
            bn_eps=norm_eps,
        )
        heads: list[Any] = [stage[0] for stage in self._stages() if stage[0].conv_dw.stride[0] == 2]
        self.skips = [(head.conv_pw.out_channels, 2 ** (i + 1)) for i, head in enumerate(heads)]
        self.skips.append((self.encoder.conv_head.out_channels, self.stride))
        widths = [
            8 * width,
            4 * width,
            2 * width,
            width,
            max(1, width // 2),
        ]  # 512, 256, 128, 64, 32
        joined = [count for count, _ in reversed(self.skips[:-1])] + [0]
        inputs = [self.skips[-1][0], *widths[:-1]]
        self.decoder = nn.ModuleList(
            _merge(below + skip, outputs, norm_momentum, norm_eps)
            for below, skip, outputs in zip(inputs, joined, widths, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], classes, 1)
        for module in (self.to_three, self.decoder, self.head):
            module.apply(he_normal)  # timm starts the encoder as Tan and Le do

    def _stages(self) -> list[list[Any]]:
        """Blocks of timm by stage; its classes have no types."""
        return [list(cast(nn.Sequential, stage)) for stage in self.encoder.blocks]

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes, H, W) logits; sides are padded to a multiple of 32 and cropped again."""
        height, width = images.shape[-2:]
        padded = functional.pad(
            images, (0, -width % self.stride, 0, -height % self.stride), mode="replicate"
        )
        skips, x = self.encode(self.to_three(padded))
        for merge, skip in zip(self.decoder, [*reversed(skips), None], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = merge(x if skip is None else torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(N, channels or 3, H, W) -> expanded activations at strides 2, 4, 8, 16, and the deepest ones at 32."""
        encoder, skips = self.encoder, []
        x = encoder.bn1(encoder.conv_stem(x))
        for stage in self._stages():
            for block in stage:
                if (
                    block.conv_dw.stride[0] == 2
                ):  # such a block has no shortcut, so it can be taken apart
                    expanded = block.bn1(block.conv_pw(x))
                    skips.append(expanded)
                    x = block.se(block.bn2(block.conv_dw(expanded)))
                    x = block.bn3(block.conv_pwl(x))
                else:
                    x = block(x)
        return skips, encoder.bn2(encoder.conv_head(x))


def make_encoder(name: str, **arguments: Any) -> EfficientNet:
    """A timm EfficientNet without its classifier, at a random start.

    Raises:
        FibsegError: no EfficientNet-B0 to B7.
    """
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=3, cutoff=0.3) or ENCODERS[:3]
        raise FibsegError(
            f"model.encoder: '{name}' is not known; the nearest are {', '.join(near)}."
        )
    import timm

    return cast("EfficientNet", timm.create_model(name, num_classes=0, **arguments))


def _merge(inputs: int, outputs: int, momentum: float, eps: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(outputs, eps=eps, momentum=momentum),
        nn.ReLU(inplace=True),
    )
