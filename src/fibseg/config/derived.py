"""What follows from a configuration: areas in pixels, arguments and start of the network."""

from __future__ import annotations

import re
from typing import Any

from fibseg.config.schemas import TrainConfig
from fibseg.data.description import instance_classes
from fibseg.errors import FibsegError
from fibseg.models.objects import ObjectRules

IMAGENET = "imagenet"
"""The start of a network whose encoder begins with timm's ImageNet weights."""


def areas_in_pixels(areas: list[Any], patch_size: int) -> list[int]:
    """Areas of the grain filter in pixels, from whole pixels or shares of a patch.

    Raises:
        FibsegError: an area is neither.

    >>> areas_in_pixels([650, "1%", "5%"], 256)
    [650, 655, 3277]
    """
    pixels = []
    for area in areas:
        # By text, because YAML gives numbers for 650 and text for 1%.
        share = re.fullmatch(r"(\d+\.?\d*|\.\d+)%", str(area))
        if share:
            pixels.append(round(float(share[1]) / 100 * patch_size**2))
        # True and False are whole numbers in Python.
        elif isinstance(area, int) and not isinstance(area, bool):
            pixels.append(area)
        else:
            raise FibsegError(
                f"filter.areas: {area} is impossible; expected pixels, or a share of a patch as 1%."
            )
    return pixels


def start_source(config: TrainConfig) -> str | None:
    """The file or run whose weights a run starts from, IMAGENET, or None for a random start."""
    # A start for the whole network includes its encoder; checks refuse both together.
    if config.init_from is not None or not config.kind.has_encoder:
        return config.init_from
    return config.model.weights or (IMAGENET if config.model.pretrained else None)


def head_of(config: TrainConfig) -> str:
    """What the network learns beside the classes, one of `fibseg.models.objects.HEADS`."""
    # A forest and Ilastik have no such key.
    return str(getattr(config.model, "head", "none"))


def object_rules(config: TrainConfig) -> ObjectRules | None:
    """How objects are told apart, before anything is chosen; None where no class has objects."""
    names = instance_classes(config.data)
    return ObjectRules(head_of(config), names) if names else None


def model_arguments(config: TrainConfig) -> dict[str, Any]:
    """What `create_model` makes the network from."""
    arguments = {name: getattr(config.model, name) for name in config.kind.arguments}
    # Background is class 0.
    classes = 1 + len(config.data.classes)
    # Not for classes alone, whose models older versions read.
    if head_of(config) != "none":
        arguments["maps"] = len(instance_classes(config.data))
    return arguments | {"channels": config.channels.count, "classes": classes}
