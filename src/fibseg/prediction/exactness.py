"""How far labels by larger windows are from the paper's, and which windows a model is good for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fibseg.models.trained import TrainedModel
from fibseg.prediction.slices import autocast, predict_scores, predict_slices, probabilities
from fibseg.prediction.windows import LARGE, LARGEST_WHOLE, SMALL, Windows, windows_of
from fibseg.scores.pixels import confusion_counts, mean_f1

UInt8 = NDArray[np.uint8]

ORDER: tuple[tuple[str, int], ...] = (("whole", 0), ("tiles", LARGE), ("tiles", SMALL))
"""Fast to slow; the paper's windows come last."""

ALLOWED = 0.005
"""F1 that a class may lose against the paper's windows; a gain is none."""


@dataclass(frozen=True)
class Drift:
    """Labels by some windows against those by the paper's, on the same slices.

    Attributes:
        windows: of which this is said.
        change: F1 by class, these less the paper's; mean over the slices that hold the class.
        flipped: share of the pixels whose label differs.
        probability: largest difference of a probability; None where it was not asked.
        seconds: per slice, `paper_seconds` with the paper's windows.
    """

    windows: Windows
    change: dict[str, float]
    flipped: float
    probability: float | None = None
    seconds: float = 0.0
    paper_seconds: float = 0.0

    @property
    def loss(self) -> float:
        """What the class loses that loses most; 0 where all gain, infinite where no slice holds a class."""
        known = [-value for value in self.change.values() if not np.isnan(value)]
        return max([0.0, *known]) if known else math.inf


def drift(
    windows: Windows,
    names: Sequence[str],
    truths: Sequence[UInt8],
    paper: Sequence[UInt8],
    others: Sequence[UInt8],
) -> Drift:
    """From labels (H, W) of both on slices with a truth."""
    scores = [
        mean_f1(
            np.stack(
                [confusion_counts(t, p, len(names)) for t, p in zip(truths, side, strict=True)]
            )
        )[1:]
        for side in (others, paper)
    ]
    change = dict(zip(names[1:], (scores[0] - scores[1]).tolist(), strict=True))
    flipped = sum(int((a != b).sum()) for a, b in zip(paper, others, strict=True)) / sum(
        one.size for one in paper
    )
    return Drift(windows, change, flipped)


def choose_windows(
    model: TrainedModel,
    channels: Sequence[UInt8],
    truths: Sequence[UInt8],
    paper: Sequence[UInt8],
    batch_size: int,
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    """The first of ORDER that loses at most ALLOWED on these slices, as a checkpoint holds it; else the paper's.

    Args:
        model: that was scored.
        channels: (C, H, W) of validation slices.
        truths: their annotation (H, W).
        paper: their labels by the paper's windows.
        batch_size: windows at once.
        device: where to compute.
        precision: as in `predict_slices`.
    """
    if not channels or (model.filter_scope == "patch" and model.areas):
        return kept(model, None, len(channels))
    tried = []
    for kind, size in ORDER:
        windows = windows_of(model, kind, size)
        cuts = [windows.cuts(*one.shape[1:]) for one in channels]
        if cuts in tried or (
            kind == "whole" and max(one[0].size for one in channels) > LARGEST_WHOLE
        ):
            continue
        tried.append(cuts)
        try:
            labels = list(
                predict_slices(model, channels, windows, batch_size, device, precision, 1)
            )
        except torch.OutOfMemoryError:
            continue
        found = drift(windows, model.class_names, truths, paper, labels)
        if found.loss <= ALLOWED:
            return kept(model, found, len(channels))
    return kept(model, None, len(channels))


def kept(model: TrainedModel, found: Drift | None, slices: int) -> dict[str, Any]:
    """As a checkpoint holds it; None for the paper's windows."""
    if found is None:
        return {
            "kind": "paper",
            "size": model.patch_size,
            "loss": 0.0,
            "flipped": 0.0,
            "slices": slices,
        }
    kind, size = found.windows.kind, found.windows.size
    return {
        "kind": kind,
        "size": size,
        "loss": found.loss,
        "flipped": found.flipped,
        "slices": slices,
    }


def measure_drift(
    model: TrainedModel,
    channels: Sequence[UInt8],
    truths: Sequence[UInt8],
    others: Sequence[Windows],
    batch_size: int,
    device: torch.device,
    precision: str,
) -> list[Drift]:
    """Every kind of windows against the paper's, with probabilities and seconds; arguments as in `choose_windows`."""
    paper = windows_of(model, "paper")
    network = model.network.to(device).eval()

    def scores(windows: Windows) -> tuple[list[NDArray[np.float32]], float]:
        start = perf_counter()
        with autocast(device, precision):
            found = [
                predict_scores(probabilities(network), one, windows, batch_size, device)
                for one in channels
            ]
        return found, (perf_counter() - start) / len(channels)

    reference, paper_seconds = scores(paper)
    labels = [one.argmax(0).astype(np.uint8) for one in reference]
    drifts = []
    for windows in others:
        found, seconds = scores(windows)
        own = drift(
            windows,
            model.class_names,
            truths,
            labels,
            [one.argmax(0).astype(np.uint8) for one in found],
        )
        largest = max(float(np.abs(a - b).max()) for a, b in zip(reference, found, strict=True))
        drifts.append(Drift(windows, own.change, own.flipped, largest, seconds, paper_seconds))
    return drifts
