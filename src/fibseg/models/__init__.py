"""The networks, made by name: `create_model("unet", channels=3, classes=4, width=64, ...)`."""

from __future__ import annotations

from typing import Any

from torch import nn

from fibseg.errors import FibsegError
from fibseg.models.unet import UNet


def create_model(architecture: str, **arguments: Any) -> nn.Module:
    """A network from its name and its constructor's arguments, as they stand in a checkpoint.

    It maps (N, channels, H, W) in [0, 1] to logits (N, classes, H, W), for any H and W.

    Raises:
        FibsegError: no such architecture, or arguments it does not know.
    """
    if architecture != "unet":
        raise FibsegError(f"model '{architecture}' is not known; expected unet.")
    try:
        return UNet(**arguments)
    except TypeError as error:
        raise FibsegError(f"model '{architecture}' does not fit its arguments {sorted(arguments)}: {error}.") from error
