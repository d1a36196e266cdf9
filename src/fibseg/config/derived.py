"""What follows from a configuration: areas in pixels, arguments of the network, where its weights start."""

from __future__ import annotations

import re
from typing import Any

from fibseg.config.schemas import EfficientUNetConfig, TrainConfig
from fibseg.errors import FibsegError


def areas_in_pixels(areas: list[Any], patch_size: int) -> list[int]:
    """Whole pixels as they are, and shares of a patch as pixels.

    >>> areas_in_pixels([650, "1%", "5%"], 256)
    [650, 655, 3277]
    """
    found = []
    for area in areas:
        share = re.fullmatch(r"(\d+\.?\d*|\.\d+)%", str(area))
        if share:
            found.append(round(float(share[1]) / 100 * patch_size**2))
        elif isinstance(area, int) and not isinstance(area, bool):
            found.append(area)
        else:
            raise FibsegError(
                f"filter.areas: {area} is impossible; expected pixels, or a share of a patch as 1%."
            )
    return found


def start_source(config: TrainConfig) -> str | None:
    """The file or run whose weights a run starts from, "imagenet" for timm's, None for a random start."""
    if config.init_from is not None or not isinstance(config.model, EfficientUNetConfig):
        return config.init_from
    return config.model.weights or ("imagenet" if config.model.pretrained else None)


def model_arguments(config: TrainConfig, classes: int) -> dict[str, Any]:
    """What `create_model` makes the network from."""
    own = {
        k: v
        for k, v in vars(config.model).items()
        if k not in ("architecture", "pretrained", "weights")
    }
    return own | {"channels": 1 + len(config.filter.areas), "classes": classes}
