"""UNet of Ronneberger et al., MICCAI 2015 (doi:10.1007/978-3-319-24574-4_28), as Meyer et al., ISBI 2021, train it.

Same-padded convolutions, batch norm after each ReLU (before it as an option), dropout after the deepest block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.errors import FibsegError

DEPTH = 4
"""Number of poolings; the deepest block sees 1 / 2**DEPTH of the sides."""

BLOCK_ORDERS = ("relu_norm", "norm_relu")
"""What follows a convolution: the paper's order, and the one of most UNets since."""


class UNet(nn.Module):
    """Five levels of two 3x3 convolutions, width to 16 * width channels and back.

    Width 64 is the paper's: 31,042,564 trainable parameters for one channel and four classes.
    Weights start He-normal (He et al., ICCV 2015, doi:10.1109/ICCV.2015.123), as in the authors' code.

    Attributes:
        stride: how much smaller the deepest activations are than the input, per side.
        entry: name of the weights that see the channels first.
        halo: how far an output looks, in pixels (107, rounded up to a multiple of the stride).
    """

    stride = 2**DEPTH
    halo = 112
    entry = "down.0.0.weight"

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int,
        dropout: float,
        norm_momentum: float,
        norm_eps: float,
        block_order: str,
    ):
        """`norm_momentum` is PyTorch's, the share of the new batch (Keras' .99 is .01 here); see BLOCK_ORDERS."""
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]  # 64, 128, 256, 512, 1024

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                *_layer(inputs, outputs, norm_momentum, norm_eps, block_order),
                *_layer(outputs, outputs, norm_momentum, norm_eps, block_order),
            )

        self.down = nn.ModuleList(
            block(i, o) for i, o in zip([channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.deepest = nn.Sequential(block(widths[-2], widths[-1]), nn.Dropout(dropout))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(block(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, classes, H, W) logits; sides are padded to a multiple of 16 and cropped again."""
        height, width = images.shape[-2:]
        x = functional.pad(
            images, (0, -width % self.stride, 0, -height % self.stride), mode="replicate"
        )
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.deepest(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]


def _layer(inputs: int, outputs: int, momentum: float, eps: float, order: str) -> list[nn.Module]:
    norm, relu = nn.BatchNorm2d(outputs, eps=eps, momentum=momentum), nn.ReLU(inplace=True)
    if order not in BLOCK_ORDERS:
        raise FibsegError(
            f"model.block_order: '{order}' is not known; expected one of {', '.join(BLOCK_ORDERS)}."
        )
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        *([relu, norm] if order == "relu_norm" else [norm, relu]),
    ]


def he_normal(module: nn.Module) -> None:
    """He-normal weights and zero biases, truncated at two deviations as Keras' he_normal is."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_in = module.weight[0].numel()  # as Keras counts it, for transposed convolutions too
        deviation = (
            2 / fan_in
        ) ** 0.5 / 0.87962566103423978  # so that the truncated normal has this deviation
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
