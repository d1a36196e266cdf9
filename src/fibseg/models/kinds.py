"""The networks, made by name: `create_model("unet", channels=3, classes=4, width=64, ...)`."""

from __future__ import annotations

from typing import Any

import torch

from fibseg.errors import FibsegError
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.forest import ForestNetwork
from fibseg.models.unet import UNet

__all__ = ["EfficientUNet", "ForestNetwork", "UNet", "create_model", "network_size"]

Model = UNet | EfficientUNet | ForestNetwork
ARCHITECTURES: dict[str, type[UNet] | type[EfficientUNet] | type[ForestNetwork]] = {
    "unet": UNet,
    "eunet": EfficientUNet,
    "forest": ForestNetwork,
}


def create_model(architecture: str, **arguments: Any) -> Model:
    """A network from its name and its constructor's arguments, as they stand in a checkpoint.

    It maps (N, channels, H, W) in [0, 1] to logits (N, classes, H, W), for any H and W.

    Raises:
        FibsegError: no such architecture, or arguments it does not know.
    """
    if architecture not in ARCHITECTURES:
        raise FibsegError(
            f"model '{architecture}' is not known; expected one of {', '.join(ARCHITECTURES)}."
        )
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise FibsegError(
            f"model '{architecture}' does not fit its arguments {sorted(arguments)}: {error}."
        ) from error


NODES = 0.25
"""Of a tree, for each pixel that it learns from; found on real stacks, where trees grow to the end."""


def network_size(architecture: str, arguments: dict[str, Any], patch_size: int) -> int:
    """Number of a network's weights, without making them; about so many for a forest of `trees` and `pixels`.

    Raises:
        FibsegError: it cannot be made, or patches of this side are too small for it.
    """
    if architecture == "forest":
        return int(5 * NODES * arguments["trees"] * arguments["pixels"])
    with torch.device("meta"):
        network = create_model(architecture, **arguments)
    smallest = 2 * network.stride  # below it the deepest activations are a single pixel
    if patch_size < smallest:
        raise FibsegError(
            f"patches.size: {patch_size} is too small for {architecture}; expected {smallest} or more."
        )
    return sum(p.numel() for p in network.parameters())
