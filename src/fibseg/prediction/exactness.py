"""How far labels by larger windows are from the paper's, and which windows a model bears."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch

from fibseg.arrays import UInt8
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.machine import Compute
from fibseg.models.trained import TrainedModel, keep_model
from fibseg.prediction.slices import (
    Scores,
    WindowedNetwork,
    autocast,
    model_channels,
    predict_slices,
    probabilities,
    scores_of,
)
from fibseg.prediction.windows import LARGE_TILE, LARGEST_WHOLE, SMALL_TILE, Windows, windows_of
from fibseg.runs.directory import RunDirectory
from fibseg.scores.pixels import confusion_counts, mean_f1

FAST_TO_SLOW: tuple[tuple[str, int], ...] = (
    ("whole", 0),
    ("tiles", LARGE_TILE),
    ("tiles", SMALL_TILE),
)
"""Kind and size of the windows that are tried, in this order; the paper's come last."""

ALLOWED_LOSS = 0.005
"""F1 that a class may lose against the paper's windows; a gain does not count."""


@dataclass(frozen=True)
class Drift:
    """Labels by some windows against those by the paper's, on the same slices.

    Attributes:
        windows: that are compared.
        change: F1 by class, of these windows less the paper's; mean over the slices that hold the
            class.
        flipped: share of the pixels whose label differs.
        probability: largest difference of a probability; None where it was not measured.
        seconds: per slice.
        paper_seconds: per slice, with the paper's windows.
    """

    windows: Windows
    change: dict[str, float]
    flipped: float
    probability: float | None = None
    seconds: float = 0.0
    paper_seconds: float = 0.0

    @property
    def loss(self) -> float:
        """F1 that the class loses that loses most: 0 where all gain, infinite without any class."""
        # NaN stands for a class that no slice holds.
        losses = [-value for value in self.change.values() if not np.isnan(value)]
        # Where nothing was compared, nothing may be chosen.
        return max([0.0, *losses]) if losses else math.inf


def label_drift(
    windows: Windows,
    names: Sequence[str],
    truths: Sequence[UInt8],
    paper: Sequence[UInt8],
    labels: Sequence[UInt8],
) -> Drift:
    """Compare labels with those by the paper's windows.

    Args:
        windows: that gave `labels`.
        names: of the classes, background first.
        truths: annotation (H, W) of each slice.
        paper: labels (H, W) by the paper's windows.
        labels: labels (H, W) by the other windows.
    """
    scores = []
    for side in (labels, paper):
        pairs = zip(truths, side, strict=True)
        counts = np.stack([confusion_counts(*pair, len(names)) for pair in pairs])
        scores.append(mean_f1(counts)[1:])
    # The first name is the background's, which is not scored.
    change = dict(zip(names[1:], (scores[0] - scores[1]).tolist(), strict=True))
    differing = sum(int((a != b).sum()) for a, b in zip(paper, labels, strict=True))
    return Drift(windows, change, differing / sum(pixels.size for pixels in paper))


def choose_windows(
    model: TrainedModel,
    channels: Sequence[UInt8],
    truths: Sequence[UInt8],
    paper: Sequence[UInt8],
    compute: Compute,
) -> dict[str, Any]:
    """Choose the first windows of FAST_TO_SLOW that lose at most ALLOWED_LOSS on these slices.

    Args:
        model: that was scored.
        channels: (C, H, W) of validation slices.
        truths: their annotation (H, W).
        paper: their labels (H, W) by the paper's windows.
        compute: what the network computes with.

    Returns:
        The choice as a checkpoint holds it; the paper's windows where all others lose more.
    """
    # A filter on each window counts shapes inside the window: its size cannot be changed.
    if not channels or model.channels.by_patch:
        return as_kept(model, None, len(channels))
    largest = max(pixels[0].size for pixels in channels)
    tried = []
    for kind, size in FAST_TO_SLOW:
        windows = windows_of(model, kind, size)
        cuts = [windows.cuts(*pixels.shape[1:]) for pixels in channels]
        # Tiles that are larger than the slices are the whole slices again.
        if cuts in tried or (kind == "whole" and largest > LARGEST_WHOLE):
            continue
        tried.append(cuts)
        try:
            labels = list(predict_slices(model, channels, windows, compute))
        except torch.OutOfMemoryError:
            continue
        drift = label_drift(
            windows=windows, names=model.class_names, truths=truths, paper=paper, labels=labels
        )
        if drift.loss <= ALLOWED_LOSS:
            return as_kept(model, drift, len(channels))
    return as_kept(model, None, len(channels))


def as_kept(model: TrainedModel, drift: Drift | None, slices: int) -> dict[str, Any]:
    """Describe a choice of windows as a checkpoint holds it; the paper's for None."""
    if drift is None:
        size = model.patch_size
        return {"kind": "paper", "size": size, "loss": 0.0, "flipped": 0.0, "slices": slices}
    return {
        "kind": drift.windows.kind,
        "size": drift.windows.size,
        "loss": drift.loss,
        "flipped": drift.flipped,
        "slices": slices,
    }


def measure_drift(
    model: TrainedModel,
    channels: Sequence[UInt8],
    truths: Sequence[UInt8],
    candidates: Sequence[Windows],
    compute: Compute,
) -> list[Drift]:
    """Compare windows with the paper's, with probabilities and seconds.

    Args:
        model: whose windows are compared.
        channels: (C, H, W) of slices.
        truths: their annotation (H, W).
        candidates: windows to compare.
        compute: what the network computes with.
    """
    # Probabilities, so that their largest difference can be given and blended windows averaged.
    network = probabilities(scores_of(model, compute.device))

    def scores_by(windows: Windows) -> tuple[list[Scores], float]:
        """Compute the probabilities of each slice, and the seconds per slice."""
        windowed = WindowedNetwork(network, windows, compute)
        start = perf_counter()
        with autocast(compute):
            scores = [windowed.scores(pixels) for pixels in channels]
        return scores, (perf_counter() - start) / len(channels)

    reference, paper_seconds = scores_by(windows_of(model, "paper"))
    paper = [_largest(scores) for scores in reference]
    drifts = []
    for windows in candidates:
        scores, seconds = scores_by(windows)
        labels = [_largest(slice_scores) for slice_scores in scores]
        drift = label_drift(
            windows=windows, names=model.class_names, truths=truths, paper=paper, labels=labels
        )
        pairs = zip(reference, scores, strict=True)
        drifts.append(
            Drift(
                windows=windows,
                change=drift.change,
                flipped=drift.flipped,
                probability=max(float(np.abs(a - b).max()) for a, b in pairs),
                seconds=seconds,
                paper_seconds=paper_seconds,
            )
        )
    return drifts


def run_drift(
    model: TrainedModel, slices: Sequence[AnnotatedSlice], compute: Compute
) -> list[Drift]:
    """Compare all windows that a model bears with the paper's, on annotated slices.

    Raises:
        FibsegError: the model gives the same labels in any windows.
    """
    if model.kind.compiled:
        raise FibsegError(
            "a forest gives the same labels by whole slices and by tiles; nothing to measure."
        )
    images = [annotated.pictures(model.grey_range) for annotated in slices]
    # A model that was trained on filtered patches bears windows of a patch's size only.
    kinds: list[tuple[str, int | None]] = [("blend", None)]
    if not model.channels.by_patch:
        kinds = [*FAST_TO_SLOW, *kinds]
    return measure_drift(
        model=model,
        channels=model_channels(model, images, None, compute.filter_threads),
        truths=[annotated.labels for annotated in slices],
        candidates=[windows_of(model, *kind) for kind in kinds],
        compute=compute,
    )


def store_choice(
    model: TrainedModel, drifts: Sequence[Drift], slices: int, run: RunDirectory
) -> TrainedModel:
    """Keep in a run's model which windows lose too little to matter; gives the model with them."""
    # Blended windows are measured for comparison, and chosen by hand only.
    candidates = [drift for drift in drifts if drift.windows.kind != "blend"]
    good = next((drift for drift in candidates if drift.loss <= ALLOWED_LOSS), None)
    model = replace(model, windows=as_kept(model, good, slices))
    keep_model(model, run)
    return model


def _largest(scores: Scores) -> UInt8:
    """Find the class index (H, W) of the largest score (K, H, W)."""
    return np.asarray(scores.argmax(0), np.uint8)
