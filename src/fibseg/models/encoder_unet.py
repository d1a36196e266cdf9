"""A UNet whose encoder is any network of timm that gives features, with or without its weights.

Decoder: Ronneberger et al., MICCAI 2015 (doi:10.1007/978-3-319-24574-4_28), two 3x3 convolutions a
level; features of the encoder are its skips. timm: Wightman (doi:10.5281/zenodo.4414861).
"""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fibseg.errors import FibsegError
from fibseg.models.unet import he_normal, logits_of, map_head


class EncoderUNet(nn.Module):
    """An encoder of timm, and a decoder from its deepest features back to full resolution.

    Skips are the encoder's features, one for each size that they have; where an encoder has none of
    a size (ConvNeXt none at half, a vision transformer at a 16th alone), the level has no skip. At
    full resolution it is the image itself. `stride`, `halo` and `entry` are explained in
    `fibseg.models.kinds`.

    Attributes:
        entry: name of the weights that see the channels first.
        image_skip: name of the weights that see the image's channels again, before all others.
    """

    stride = 32
    # A choice, not a bound: the deepest features of most encoders see several hundred pixels, and
    # squeeze-and-excitation or attention sees the whole input.
    halo = 128
    image_skip = "decoder.1.0.weight"

    def __init__(
        self,
        channels: int,
        classes: int,
        encoder: str,
        width: int,
        norm_momentum: float,
        norm_eps: float,
        maps: int = 0,
    ):
        """Make the network with random weights.

        Args:
            channels: number of input channels.
            classes: number of classes, background included.
            encoder: name of a network in timm.
            width: channels of the decoder at full resolution; each halving of the sides doubles
                them, to 8 * `width` at most.
            norm_momentum: PyTorch's momentum of batch norms, the share of the new batch.
            norm_eps: epsilon of the decoder's batch norms; the encoder keeps its own, with which
                its weights were trained.
            maps: of objects, beside the classes.
        """
        super().__init__()
        self.encoder = make_features(encoder, channels)
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum
        name, first = next(
            (name, module)
            for name, module in self.encoder.named_modules()
            if isinstance(module, nn.Conv2d)
        )
        self.entry = f"encoder.{name}.weight"
        # timm's weights expect colours less a mean: a bias takes it in.
        if first.bias is None:
            first.bias = nn.Parameter(first.weight.new_zeros(first.out_channels))
        # Swin and its kind give (N, H, W, C).
        self._channels_last = str(getattr(self.encoder, "output_fmt", "")).endswith("NHWC")
        # The last features of a size are the deepest ones.
        sizes = self.encoder.feature_info.reduction()
        self._feature_of = {int(size): index for index, size in enumerate(sizes)}
        self._deepest = max(self._feature_of)
        counts = self.encoder.feature_info.channels()
        layer = partial(_layer, norm_momentum=norm_momentum, norm_eps=norm_eps)
        self.decoder = nn.ModuleDict()
        skips = {size: counts[index] for size, index in self._feature_of.items()} | {1: channels}
        below = skips[self._deepest]
        size = self._deepest // 2
        while size >= 1:
            outputs = width * min(size, 8)
            inputs = below + skips.get(size, 0)
            self.decoder[str(size)] = nn.Sequential(
                *layer(inputs, outputs), *layer(outputs, outputs)
            )
            below = outputs
            size //= 2
        self.head = nn.Conv2d(width, classes, 1)
        for module in (self.decoder, self.head):
            module.apply(he_normal)
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
        padded = functional.pad(images, padding, mode="replicate")  # (N, C, H, W)
        features = self.encoder(padded)
        if self._channels_last:
            features = [feature.movedim(-1, 1) for feature in features]
        skips = {size: features[index] for size, index in self._feature_of.items()}
        skips[1] = padded
        x = skips[self._deepest]  # (N, deepest, H / 32, W / 32)
        for size, merge in self.decoder.items():
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")  # twice the sides
            skip = skips.get(int(size))
            # (N, 8 w, H / 16, W / 16) at first, (N, w, H, W) at last
            x = merge(x if skip is None else torch.cat([skip, x], dim=1))
        logits = logits_of(x, self.head, self.maps if with_maps else None)
        return logits[..., :height, :width]


def make_features(name: str, channels: int) -> Any:
    """Make a network of timm that gives its features, with random weights.

    Raises:
        FibsegError: timm has no such network, or none that gives features of images of any size.
    """
    import timm

    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
        nearest = nearest or ["resnet18", "tf_efficientnet_lite0", "convnext_tiny"]
        raise FibsegError(
            f"model.encoder: timm has no '{name}'; the nearest are {', '.join(nearest)}."
        )
    arguments: dict[str, Any] = {"features_only": True, "in_chans": channels}
    features: Any
    try:
        try:
            # Vision transformers adapt their places to the size of an image where they are asked.
            features = timm.create_model(name, dynamic_img_size=True, **arguments)
        except TypeError:
            features = timm.create_model(name, **arguments)
    # Networks of timm raise many kinds of exceptions where they give no features.
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FibsegError(
            f"model.encoder: '{name}' of timm gives no features ({reason})."
        ) from error
    sizes = features.feature_info.reduction()
    if any(EncoderUNet.stride % size for size in sizes):
        raise FibsegError(
            f"model.encoder: '{name}' gives features at 1/{max(sizes)} of the sides; "
            "expected 1/2, 1/4, 1/8, 1/16 or 1/32."
        )
    return features


def _layer(inputs: int, outputs: int, norm_momentum: float, norm_eps: float) -> list[nn.Module]:
    """Make a 3x3 convolution with its batch norm and ReLU."""
    return [
        # The batch norm has a bias of its own.
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs, eps=norm_eps, momentum=norm_momentum),
        nn.ReLU(inplace=True),
    ]
