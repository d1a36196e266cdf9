"""Whether the parts of a model file fit each other: classes, arguments, channels and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.features import feature_names
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import Kind


def check_sizes(path: Path, kind: Kind, content: dict[str, Any]) -> None:
    """Refuse a file whose parts do not fit each other, before memory is taken for them.

    Raises:
        FibsegError: they do not.
    """
    arguments = content["arguments"]
    count = len(content["class_names"])
    fits = arguments.get("classes") == count
    fits = fits and len(content["label_values"]) == count
    decision = content["decision"]
    fits = fits and (decision is None or len(decision["offsets"]) == count)
    fits = fits and (decision is None or len(decision.get("smallest", ())) in (0, count))
    objects = content["objects"] or {"head": "none", "classes": ()}
    maps = 0 if objects["head"] == "none" else len(objects["classes"])
    fits = fits and maps == arguments.get("maps", 0)
    fits = fits and set(objects["classes"]) <= set(content["class_names"][1:])
    if fits and kind.compiled:
        # Compiled code follows indices in these arrays without looking.
        try:
            fits = arguments == ForestNetwork.sizes(content["weights"])
        except (KeyError, ValueError, AttributeError):
            fits = False
    if not fits:
        raise FibsegError(
            f"{path}: damaged: its classes, arguments and arrays do not fit each other."
        )
    channels = Channels(tuple(content["areas"]), context=content["context"])
    if arguments.get("channels") != channels.count:
        raise FibsegError(
            f"{path}: a network of {arguments.get('channels')} channels, but filter areas "
            f"{list(channels.areas)} and context {channels.context} make {channels.count}."
        )
    if kind.compiled and content.get("features") != feature_names(channels.areas):
        raise FibsegError(
            f"{path}: its features are not those that this fibseg computes; train the forest again."
        )
