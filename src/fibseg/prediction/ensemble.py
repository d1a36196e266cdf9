"""Several networks as one, and a network under flips and rotations: mean probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.machine import choose_precision
from fibseg.models.trained import TrainedModel
from fibseg.prediction.slices import Network, probabilities
from fibseg.prediction.windows import (
    LARGE_TILE,
    LARGEST_WHOLE,
    Windows,
    chosen_windows,
    windows_of,
)

Source = tuple[GreyRange, tuple[int, ...], int]
"""What channels of a whole slice are made by: grey range, areas of the filter, and neighbours."""

FAST_TO_CAREFUL = ("whole", "tiles", "blend", "paper")
"""Kinds of windows, the ones that cost most accuracy first."""


@dataclass(frozen=True)
class Ensemble:
    """(N, C, h, w) channels of all members -> (N, K, h, w) mean probabilities.

    Attributes:
        members: networks, each with the positions of its channels.
        turned: whether each network sees the image in all eight flips and rotations.
        disagreement: whether one more channel (K + 1) holds the share of members whose class is
            another one.
        classes: number of channels that are logits; what stands behind them is averaged as it is,
            and comes last. None where all are logits.
    """

    members: Sequence[tuple[Network, list[int]]]
    turned: bool
    disagreement: bool
    classes: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Average probabilities, with the share of members that disagree where it is asked for."""
        # Probabilities are averaged and not logits, whose scale differs between networks.
        votes = [self._mean(network, images[:, channels]) for network, channels in self.members]
        mean = torch.stack(votes).mean(dim=0) if len(votes) > 1 else votes[0]
        if not self.disagreement:
            return mean
        count = mean.shape[1] if self.classes is None else self.classes
        chosen = mean[:, :count].argmax(dim=1)
        # The members' own classes against that of their mean.
        differing = torch.stack([vote[:, :count].argmax(dim=1) != chosen for vote in votes])
        share = differing.float().mean(dim=0)[:, None]
        return torch.cat([mean[:, :count], share, mean[:, count:]], dim=1)

    def _mean(self, network: Network, images: Tensor) -> Tensor:
        """Average the probabilities of one network over its turns."""
        turns = [(0, False)]
        if self.turned:
            # The eight symmetries of a square, by which patches were turned in training.
            turns = [(quarter, flip) for quarter in range(4) for flip in (False, True)]
        total: Tensor | None = None
        for quarter, flip in turns:
            turned = images.flip(-1) if flip else images
            turned = turned.rot90(quarter, (-2, -1)).contiguous()
            # Undone in reverse order: the turn before the flip.
            scores = probabilities(network, self.classes)(turned).rot90(-quarter, (-2, -1))
            scores = scores.flip(-1) if flip else scores
            total = scores if total is None else total + scores
        assert total is not None
        return total / len(turns)


def common_windows(
    models: Sequence[TrainedModel], kind: str, tile: int, slice_pixels: int
) -> Windows:
    """Choose windows that fit all models: of a kind, or for "auto" the most careful of theirs.

    Args:
        models: of one prediction.
        kind: a kind of windows, or auto.
        tile: side of tiles.
        slice_pixels: of a slice; above LARGEST_WHOLE it is cut into tiles in place of "whole".

    Raises:
        FibsegError: the models were trained with patches or voxels that differ, so that no windows
            fit all.
    """
    for name, words in (("voxel_sizes", "voxel sizes"), ("patch_size", "patch sizes")):
        values = [getattr(model, name) for model in models]
        # One scale and one size of windows serve all members of an average.
        if any(value != values[0] for value in values):
            raise FibsegError(
                f"these runs have different {words} ({values[0]} and others); name one of them."
            )
    if kind == "auto":
        candidates = [chosen_windows(model) for model in models]
    else:
        candidates = [windows_of(model, kind, tile) for model in models]
    # Of one kind, the smaller windows are those closer to the paper's.
    careful = max(
        candidates, key=lambda windows: (FAST_TO_CAREFUL.index(windows.kind), -windows.size)
    )
    if any(careful.kind not in model.kind.windows for model in models):
        raise FibsegError(
            f"one of these networks needs windows={careful.kind}, by which a forest cannot be cut; "
            "give windows=whole, or configuration=NAME."
        )
    # Memory for activations grows with the slice; tiles bound it.
    if careful.kind == "whole" and slice_pixels > LARGEST_WHOLE:
        careful = replace(careful, kind="tiles", size=LARGE_TILE)
    # Tiles must start where every network pools, and show enough to the one that looks furthest.
    halo = max(windows.halo for windows in candidates)
    return replace(careful, halo=halo, grid=math.lcm(*(windows.grid for windows in candidates)))


def common_precision(models: Sequence[TrainedModel], device: torch.device) -> str:
    """Give the precision that all networks were trained with; 32 bits if none is common.

    Half precision is kept only where this device gains from it: a processor without it takes eight
    times as long as with 32 bits.
    """
    # Forests are left out: they compute with 32 bits beside any network.
    networks = [model for model in models if not model.kind.compiled]
    if {model.precision for model in networks} != {"bf16"}:
        return "32"
    return choose_precision("auto", device, any(model.kind.depthwise for model in networks))


def sources_of(models: Sequence[TrainedModel]) -> dict[Source, list[int]]:
    """Find the positions of each source's channels, where models of one source share them.

    Raises:
        FibsegError: the classes differ, or one of several models filters single patches.
    """
    first = models[0]
    for model in models[1:]:
        # Class indices are averaged, so they must mean the same in every run.
        classes = (list(model.class_names), list(model.label_values))
        if classes != (list(first.class_names), list(first.label_values)):
            raise FibsegError(
                f"these runs have other classes: {', '.join(model.class_names)} and "
                f"{', '.join(first.class_names)}."
            )
    if len(models) > 1 and any(model.channels.by_patch for model in models):
        raise FibsegError("runs with filter.scope=patch cannot be averaged; name one of them.")
    positions: dict[Source, list[int]] = {}
    count = 0
    for model in models:
        source = source_of(model)
        if source not in positions:
            _, areas, context = source
            # The image, its filtered versions, its neighbours.
            channels = 1 + len(areas) + 2 * context
            positions[source] = list(range(count, count + channels))
            count += channels
    return positions


def source_of(model: TrainedModel) -> Source:
    """Give what makes a model's channels of a whole slice."""
    return model.grey_range, model.channels.slice_areas, model.channels.context
