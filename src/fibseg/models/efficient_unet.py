"""EfficientUNet of Meyer et al., ISBI 2021: the encoder of EfficientNet, the decoder of a UNet.

Encoder: Tan and Le, ICML 2019 (arXiv:1905.11946), from timm. Skips are the expanded activations at
the head of each stage that halves the sides, not the outputs of stages; there is none at full
resolution. Stochastic depth: Huang et al., ECCV 2016 (doi:10.1007/978-3-319-46493-0_39).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.errors import FibsegError
from fibseg.models.unet import he_normal, logits_of, map_head

# timm is slow to import, and the other networks do without it.
if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet


ENCODERS = tuple(f"{prefix}efficientnet_b{size}" for prefix in ("", "tf_") for size in range(8))
"""Names in timm; `tf_` pads at one side as TensorFlow does, and has ImageNet weights for each."""


class EfficientUNet(nn.Module):
    """EfficientNet-B0 to B7 as the encoder, and a decoder of five levels of one 3x3 convolution.

    Encoder `efficientnet_b4` and width 64 are the paper's: 33,005,116 numbers for three channels
    and four classes, batch norm statistics included. A single channel passes a learned 1x1
    convolution to three first. `stride`, `halo` and `entry` are explained in `fibseg.models.kinds`.

    Attributes:
        skips: (channels, stride) of each skip, shallow first, and of the deepest activations.
    """

    stride = 32
    # A choice, not a bound: squeeze-and-excitation averages over the whole input, so an output
    # depends a little on everything that a tile shows.
    halo = 128
    # Of one channel it sees the three that the 1x1 convolution makes.
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
        maps: int = 0,
    ):
        """Make the network with random weights.

        Args:
            channels: number of input channels.
            classes: number of classes, background included.
            encoder: one of ENCODERS.
            width: channels of the decoder at half the sides of the input; its deepest level has 8
                times as many, its last one half.
            drop_path: rate that stochastic depth rises to at the last block of the encoder.
            norm_momentum: PyTorch's momentum of batch norms, the share of the new batch.
            norm_eps: epsilon of batch norms.
            maps: of objects, beside the classes.
        """
        super().__init__()
        self.to_three = nn.Conv2d(1, 3, 1) if channels == 1 else nn.Identity()
        self.encoder = make_encoder(
            encoder,
            in_chans=3 if channels == 1 else channels,
            drop_path_rate=drop_path,
            bn_momentum=norm_momentum,
            bn_eps=norm_eps,
        )
        heads: list[Any] = [stage[0] for stage in self._stages() if _halves_sides(stage[0])]
        self.skips = [(head.conv_pw.out_channels, 2 ** (i + 1)) for i, head in enumerate(heads)]
        self.skips.append((self.encoder.conv_head.out_channels, self.stride))
        # 512, 256, 128, 64, 32 channels for the paper's width.
        widths = [8 * width, 4 * width, 2 * width, width, max(1, width // 2)]
        from_below = [self.skips[-1][0], *widths[:-1]]
        # Deepest first; the level of full resolution has no skip.
        from_skips = [count for count, _ in reversed(self.skips[:-1])] + [0]
        self.decoder = nn.ModuleList(
            _merge(below + skip, outputs, norm_momentum, norm_eps)
            for below, skip, outputs in zip(from_below, from_skips, widths, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], classes, 1)
        # timm has started the encoder as Tan and Le do.
        for module in (self.to_three, self.decoder, self.head):
            module.apply(he_normal)
        # Last, so that the other weights start as they do without it.
        self.maps = map_head(widths[-1], maps)

    def _stages(self) -> list[list[Any]]:
        """List the blocks of the encoder by stage; timm's classes have no types."""
        return [list(cast(nn.Sequential, stage)) for stage in self.encoder.blocks]

    def forward(self, images: Tensor, with_maps: bool = False) -> Tensor:
        """Map (N, C, H, W) grey values in [0, 1] to logits (N, K, H, W), for any H and W.

        With maps of objects, their logits follow those of the classes: (N, K + M, H, W).

        Sides are padded to a multiple of the stride, and the logits cropped again. C are channels,
        K classes; w is `width` below.
        """
        height, width = images.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        padded = functional.pad(images, padding, mode="replicate")  # (N, C, H, W)
        skips, x = self.encode(self.to_three(padded))  # x: (N, 1792, H / 32, W / 32) for B4
        for merge, skip in zip(self.decoder, [*reversed(skips), None], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")  # twice the sides
            # What comes up first, then the skip: the authors' order, the other way round than in
            # the UNet.
            x = x if skip is None else torch.cat([x, skip], dim=1)
            x = merge(x)  # (N, 8 w, H / 16, W / 16) at first, (N, w / 2, H, W) at last
        logits = logits_of(x, self.head, self.maps if with_maps else None)
        return logits[..., :height, :width]

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run the encoder on images (N, C or 3, H, W), whose sides are multiples of the stride.

        Returns:
            Expanded activations at strides 2, 4, 8 and 16, and the deepest ones at stride 32; their
            channels are those of `skips`.
        """
        encoder = self.encoder
        skips = []
        x = encoder.bn1(encoder.conv_stem(x))  # (N, stem, H / 2, W / 2)
        for stage in self._stages():
            for block in stage:
                if not _halves_sides(block):
                    x = block(x)
                    continue
                # timm gives no activations from inside a block, so its steps are repeated here.
                # That is all of them: a block that halves the sides has no shortcut.
                expanded = block.bn1(block.conv_pw(x))
                skips.append(expanded)
                x = block.se(block.bn2(block.conv_dw(expanded)))
                x = block.bn3(block.conv_pwl(x))
        return skips, encoder.bn2(encoder.conv_head(x))


def _halves_sides(block: Any) -> bool:
    """Whether a block of timm halves the sides of its input."""
    return bool(block.conv_dw.stride[0] == 2)


def make_encoder(name: str, **arguments: Any) -> EfficientNet:
    """Make a timm EfficientNet without its classifier, with random weights.

    Raises:
        FibsegError: the name is none of ENCODERS.
    """
    if name not in ENCODERS:
        nearest = difflib.get_close_matches(name, ENCODERS, n=3, cutoff=0.3) or ENCODERS[:3]
        raise FibsegError(
            f"model.encoder: '{name}' is not known; the nearest are {', '.join(nearest)}."
        )
    import timm

    return cast("EfficientNet", timm.create_model(name, num_classes=0, **arguments))


def _merge(inputs: int, outputs: int, norm_momentum: float, norm_eps: float) -> nn.Sequential:
    """Make a level of the decoder; its second ReLU, after the batch norm, is the authors'."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(outputs, eps=norm_eps, momentum=norm_momentum),
        nn.ReLU(inplace=True),
    )
