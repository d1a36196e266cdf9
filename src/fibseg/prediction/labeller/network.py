"""The network of a labeller, and what it says of a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fibseg.arrays import UInt8
from fibseg.models.trained import TrainedModel
from fibseg.prediction.ensemble import Ensemble, source_of, sources_of
from fibseg.prediction.instances.slices import Maps, slice_objects
from fibseg.prediction.labeller.settings import DISAGREEMENT, Labeller
from fibseg.prediction.slices import (
    Network,
    Scores,
    WindowedNetwork,
    deciding,
    decision_of,
    probabilities,
    scores_of,
)
from fibseg.scores.slabs import Numbers


@dataclass(frozen=True)
class Decided:
    """What a labeller says of a slice.

    Attributes:
        labels: (H, W) class indices.
        layers: (H, W) uint8 for each layer.
        confidence: mean of the largest probability; None where it was not measured.
        maps: of objects, (M, H, W); None without a head, and where objects are not wanted.
    """

    labels: UInt8
    layers: list[UInt8]
    confidence: float | None = None
    maps: Maps | None = None


def decide_slice(
    labeller: Labeller, windowed: WindowedNetwork, channels: UInt8, measured: bool
) -> Decided:
    """Compute the labels of a slice (C, H, W), with its confidence where it is measured."""
    model = labeller.models[0]
    # The mean of several networks or turns is less confident than each, and a forest's votes are no
    # probabilities.
    measured = measured and len(labeller.models) == 1 and not labeller.turned
    measured = measured and not model.kind.compiled
    count = len(model.class_names)
    if labeller.layers or (labeller.objects is not None and labeller.has_maps):
        scores = windowed.scores(channels)
        labels, layers = _with_layers(scores, model.class_names, labeller.layers)
        maps = None
        if labeller.objects is not None and labeller.has_maps:
            maps = scores[-len(labeller.objects.classes) :]
        confidence = _confidence(labeller, scores[:count]) if measured else None
        return Decided(labels, layers, confidence, maps)
    if measured:
        labels, confidence = windowed.labels_and_confidence(channels)
        return Decided(labels, [], confidence)
    return Decided(windowed.labels(channels), [])


def _confidence(labeller: Labeller, scores: Scores) -> float:
    """Average the largest probability over the pixels of scores (K, H, W)."""
    # Layers and blended windows have probabilities already; a network alone gives logits.
    if not labeller.layers and labeller.windows.kind != "blend":
        scores = torch.from_numpy(scores).softmax(dim=0).numpy()
    return float(scores.max(axis=0).mean())


def objects_of(labeller: Labeller, labels: UInt8, maps: Maps | None) -> Numbers | None:
    """Number the objects (H, W) of a slice; None where they are not wanted."""
    if labeller.objects is None:
        return None
    names = list(labeller.models[0].class_names)
    indices = [names.index(name) for name in labeller.objects.classes]
    return slice_objects(labels, maps, indices, labeller.objects.level)


def scores_with_maps(model: TrainedModel, device: torch.device) -> Network:
    """Give `scores_of`, with the maps of objects behind the classes: (N, K + M, h, w), in [0, 1].

    They are those of `fibseg.models.objects`.
    """
    network: Any = model.network.to(device).eval()
    decide = decision_of(model, device)
    classes = len(model.class_names)

    def scores(images: Tensor) -> Tensor:
        values = network(images, with_maps=True)
        logits = values[:, :classes]
        logits = logits if decide is None else decide(logits)
        return torch.cat([logits.float(), values[:, classes:].float().sigmoid()], dim=1)

    return scores


def network_of(labeller: Labeller) -> tuple[Network, int]:
    """Make one network of all, on their device, and count the channels that it takes."""
    models = labeller.models
    sources = sources_of(models)
    members: list[tuple[Network, list[int]]] = []
    for model in models:
        scoring = scores_with_maps if labeller.has_maps else scores_of
        network = scoring(model, labeller.compute.device)
        # Where each member finds its channels among those of all sources.
        members.append((network, sources[source_of(model)]))
    if any(model.channels.by_patch for model in models):
        # Each window gets the channels of its model from the patch filter.
        channels = models[0].channels.count
    else:
        channels = sum(len(positions) for positions in sources.values())
    classes = len(models[0].class_names) if labeller.has_maps else None
    # Layers need probabilities, which an ensemble of one gives.
    if len(members) > 1 or labeller.turned or labeller.layers:
        disagreement = DISAGREEMENT in labeller.layers
        return Ensemble(members, labeller.turned, disagreement, classes), channels
    if labeller.windows.kind == "blend":
        return probabilities(members[0][0], classes), channels
    if labeller.has_maps:
        return members[0][0], channels
    return deciding(models[0], labeller.compute.device), channels


def _with_layers(
    scores: Scores, names: Sequence[str], layers: Sequence[str]
) -> tuple[UInt8, list[UInt8]]:
    """Compute class indices, and layers times 255, from (K or K + 1, H, W) scores."""
    # Disagreement comes behind the classes, as `Ensemble` stacks it.
    rows = {name: k for k, name in enumerate(names)} | {DISAGREEMENT: len(names)}
    pixels = [np.rint(255 * scores[rows[name]].clip(0, 1)).astype(np.uint8) for name in layers]
    return scores[: len(names)].argmax(0).astype(np.uint8), pixels
