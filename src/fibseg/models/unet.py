"""UNet of Ronneberger et al., MICCAI 2015 (doi:10.1007/978-3-319-24574-4_28).

As Meyer et al., ISBI 2021, train it: convolutions keep the size of their input, batch norm follows
each ReLU (or precedes it, as an option), and dropout follows the deepest block.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.errors import FibsegError

DEPTH = 4
"""Number of poolings; the deepest block sees 1 / 2**DEPTH of the sides."""

BLOCK_ORDERS = ("relu_norm", "norm_relu")
"""What follows a convolution: in the authors' code, and in the paper's text and most UNets."""

_TRUNCATED_DEVIATION = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut off at -2 and 2."""


class UNet(nn.Module):
    """Five levels of two 3x3 convolutions, from `width` to 16 * `width` channels and back.

    Width 64 is the paper's: 31,042,564 trainable parameters for one channel and four classes.
    Weights start He-normal (He et al., ICCV 2015, doi:10.1109/ICCV.2015.123), as in the authors'
    code. `stride`, `halo` and `entry` are explained in `fibseg.models.kinds`.
    """

    stride = 2**DEPTH
    # The 3x3 convolutions look 2 * (1 + 2 + 4 + 8) pixels on the way down, 32 at the bottom and 30
    # on the way up; a pooling adds up to 15, by where a pixel lies in its cell. These 107 are
    # rounded up to a multiple of the stride.
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
        maps: int = 0,
    ):
        """Make the network with random weights.

        Args:
            channels: number of input channels.
            classes: number of classes, background included.
            width: channels of the first level; each pooling doubles them.
            dropout: share of the deepest activations that a training step sets to 0.
            norm_momentum: PyTorch's momentum of batch norms, the share of the new batch in the
                running statistics. Keras counts the other share: its .99 is .01 here.
            norm_eps: epsilon of batch norms.
            block_order: one of BLOCK_ORDERS.
            maps: of objects, beside the classes.
        """
        super().__init__()
        layer = partial(
            _layer, norm_momentum=norm_momentum, norm_eps=norm_eps, block_order=block_order
        )

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(*layer(inputs, outputs), *layer(outputs, outputs))

        # 64, 128, 256, 512, 1024 channels for the paper's width.
        widths = [width * 2**level for level in range(DEPTH + 1)]
        down_inputs = [channels, *widths[:-2]]
        self.down = nn.ModuleList(
            block(inputs, outputs) for inputs, outputs in zip(down_inputs, widths[:-1], strict=True)
        )
        # After the last batch norm, as in the authors' code.
        self.deepest = nn.Sequential(block(widths[-2], widths[-1]), nn.Dropout(dropout))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * outputs, outputs, 2, stride=2)
            for outputs in reversed(widths[:-1])
        )
        # Twice the channels go in: the skip, and what comes up from the level below.
        self.merge = nn.ModuleList(block(2 * outputs, outputs) for outputs in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(he_normal)
        # Last, so that the other weights start as they do without it.
        self.maps = map_head(width, maps)

    def forward(self, images: Tensor, with_maps: bool = False) -> Tensor:
        """Map (N, C, H, W) grey values in [0, 1] to logits (N, K, H, W), for any H and W.

        With maps of objects, their logits follow those of the classes: (N, K + M, H, W).

        Sides are padded to a multiple of the stride, and the logits cropped again. C are channels,
        K classes; w is `width` below.
        """
        height, width = images.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        # The border is repeated: zeros would be a dark frame around the slice.
        x = functional.pad(images, padding, mode="replicate")  # (N, C, H, W)
        skips = []
        for block in self.down:
            x = block(x)  # (N, w, H, W) at first, (N, 8 w, H / 8, W / 8) at last
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.deepest(x)  # (N, 16 w, H / 16, W / 16)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = up(x)  # (N, 8 w, H / 8, W / 8) at first
            # Skip first, as in the authors' code.
            x = merge(torch.cat([skip, x], dim=1))  # (N, w, H, W) at last
        logits = logits_of(x, self.head, self.maps if with_maps else None)
        return logits[..., :height, :width]


def map_head(width: int, maps: int) -> nn.Conv2d | None:
    """Make the layer from `width` activations to maps of objects; None without any."""
    if not maps:
        return None
    layer = nn.Conv2d(width, maps, 1)
    he_normal(layer)
    return layer


def logits_of(activations: Tensor, head: nn.Conv2d, maps: nn.Conv2d | None) -> Tensor:
    """Compute logits (N, K, H, W), and of the maps behind them, from activations (N, w, H, W)."""
    logits: Tensor = head(activations)
    return logits if maps is None else torch.cat([logits, maps(activations)], dim=1)


def _layer(
    inputs: int, outputs: int, norm_momentum: float, norm_eps: float, block_order: str
) -> list[nn.Module]:
    """Make a 3x3 convolution with its ReLU and batch norm."""
    if block_order not in BLOCK_ORDERS:
        raise FibsegError(
            f"model.block_order: '{block_order}' is not known; "
            f"expected one of {', '.join(BLOCK_ORDERS)}."
        )
    norm = nn.BatchNorm2d(outputs, eps=norm_eps, momentum=norm_momentum)
    relu = nn.ReLU(inplace=True)
    after = [relu, norm] if block_order == "relu_norm" else [norm, relu]
    return [nn.Conv2d(inputs, outputs, 3, padding=1), *after]


def he_normal(module: nn.Module) -> None:
    """Start a convolution with He-normal weights and zero biases; for `nn.Module.apply`.

    The normal distribution is cut off at two deviations, as Keras' he_normal is.
    """
    if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return
    # Keras counts the fan-in of a transposed convolution in this way, too.
    fan_in = module.weight[0].numel()
    # Wider than He et al. have it, so that the deviation is theirs after the cut.
    deviation = (2 / fan_in) ** 0.5 / _TRUNCATED_DEVIATION
    nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
