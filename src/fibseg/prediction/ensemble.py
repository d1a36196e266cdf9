"""Several networks as one, and a network under flips and rotations: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel
from fibseg.prediction.slices import Network
from fibseg.prediction.windows import LARGE, LARGEST_WHOLE, Windows, chosen_windows, windows_of

Source = tuple[GreyRange, tuple[int, ...]]
"""What channels are made by: the window of grey values, and the areas of the filter."""


@dataclass(frozen=True)
class Ensemble:
    """(N, C, h, w) channels of all members -> (N, K, h, w) mean probabilities.

    Attributes:
        members: networks, each with the positions of its channels.
        turned: whether each sees the image in all eight flips and rotations.
        disagreement: whether one more channel (K + 1) tells the share of members that would say another class.
    """

    members: Sequence[tuple[Network, list[int]]]
    turned: bool
    disagreement: bool

    def __call__(self, images: Tensor) -> Tensor:
        """As above."""
        votes = [self._mean(network, images[:, channels]) for network, channels in self.members]
        mean = torch.stack(votes).mean(dim=0) if len(votes) > 1 else votes[0]
        if not self.disagreement:
            return mean
        said = mean.argmax(dim=1)
        others = torch.stack([vote.argmax(dim=1) != said for vote in votes]).float().mean(dim=0)
        return torch.cat([mean, others[:, None]], dim=1)

    def _mean(self, network: Network, images: Tensor) -> Tensor:
        turns = (
            [(quarter, flip) for quarter in range(4) for flip in (False, True)]
            if self.turned
            else [(0, False)]
        )
        total: Tensor | None = None
        for quarter, flip in turns:
            shown = images.flip(-1) if flip else images
            found = network(shown.rot90(quarter, (-2, -1)).contiguous()).float().softmax(dim=1)
            found = found.rot90(-quarter, (-2, -1))
            found = found.flip(-1) if flip else found
            total = found if total is None else total + found
        assert total is not None
        return total / len(turns)


def common_windows(models: Sequence[TrainedModel], kind: str, tile: int, pixels: int) -> Windows:
    """Windows that fit all of them: of a kind, or for "auto" the most careful ones that one of them needs.

    Args:
        models: of one prediction.
        kind: a kind of windows, or auto.
        tile: side of tiles.
        pixels: of a slice; above LARGEST it is cut into tiles in place of "whole".

    Raises:
        FibsegError: they were trained with patches or voxels that differ, so that no windows fit all.
    """
    for name, what in (("voxel_sizes", "voxel sizes"), ("patch_size", "patch sizes")):
        values = [getattr(model, name) for model in models]
        if any(value != values[0] for value in values):
            raise FibsegError(
                f"these runs have different {what} ({values[0]} and others); name one of them."
            )
    every = [
        chosen_windows(one) if kind == "auto" else windows_of(one, kind, tile) for one in models
    ]
    slowest = max(every, key=lambda one: (KINDS_BY_CARE.index(one.kind), -one.size))
    if slowest.kind in ("paper", "blend") and any(one.architecture == "forest" for one in models):
        raise FibsegError(
            f"one of these networks needs windows={slowest.kind}, by which a forest cannot be cut; give windows=whole, "
            "or configuration=NAME."
        )
    if slowest.kind == "whole" and pixels > LARGEST_WHOLE:
        slowest = replace(slowest, kind="tiles", size=LARGE)
    return replace(
        slowest, halo=max(one.halo for one in every), grid=math.lcm(*(one.grid for one in every))
    )


def common_precision(models: Sequence[TrainedModel]) -> str:
    """Of their training; 32 bits where that differs, and for forests alone."""
    found = {model.precision for model in models if model.architecture != "forest"}
    return found.pop() if len(found) == 1 else "32"


KINDS_BY_CARE = ("whole", "tiles", "blend", "paper")


def sources_of(models: Sequence[TrainedModel]) -> dict[Source, list[int]]:
    """What makes the channels of all of them, each once -> the positions of its channels.

    Raises:
        FibsegError: their classes differ, or one filters single patches and there are several.
    """
    first = models[0]
    for model in models[1:]:
        if (list(model.class_names), list(model.label_values)) != (
            list(first.class_names),
            list(first.label_values),
        ):
            raise FibsegError(
                f"these runs have other classes: {', '.join(model.class_names)} and {', '.join(first.class_names)}."
            )
    if len(models) > 1 and any(model.areas and model.filter_scope == "patch" for model in models):
        raise FibsegError("runs with filter.scope=patch cannot be averaged; name one of them.")
    found: dict[Source, list[int]] = {}
    for model in models:
        source = source_of(model)
        if source not in found:
            begin = sum(map(len, found.values()))
            found[source] = list(range(begin, begin + 1 + len(source[1])))
    return found


def source_of(model: TrainedModel) -> Source:
    """What makes its channels of a whole slice."""
    return model.window, tuple(model.areas) if model.filter_scope == "slice" else ()
