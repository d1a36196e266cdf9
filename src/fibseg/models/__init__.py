"""The networks, made by name: `create_model("unet", channels=3, classes=4, width=64, ...)`."""

from __future__ import annotations

from typing import Any

from fibseg.errors import FibsegError
from fibseg.models.efficient_unet import EfficientUNet
from fibseg.models.unet import UNet

__all__ = ["EfficientUNet", "UNet", "create_model"]

ARCHITECTURES: dict[str, type[UNet] | type[EfficientUNet]] = {"unet": UNet, "eunet": EfficientUNet}


def create_model(architecture: str, **arguments: Any) -> UNet | EfficientUNet:
    """A network from its name and its constructor's arguments, as they stand in a checkpoint.

    It maps (N, channels, H, W) in [0, 1] to logits (N, classes, H, W), for any H and W.

    Raises:
        FibsegError: no such architecture, or arguments it does not know.
    """
    if architecture not in ARCHITECTURES:
        raise FibsegError(f"model '{architecture}' is not known; expected {' or '.join(ARCHITECTURES)}.")
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise FibsegError(f"model '{architecture}' does not fit its arguments {sorted(arguments)}: {error}.") from error
