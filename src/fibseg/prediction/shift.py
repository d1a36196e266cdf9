"""Labels that do not look like those of the training's slices: class shares and confidence.

A network labels any picture, and nothing fails where the picture is of another microscope, voxel
size or tissue. What can be seen without a truth is that the labels leave the range that they have
over the training's own slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from fibseg.arrays import IGNORE, UInt8
from fibseg.data.grey import sample_slice, summary_of_samples
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.machine import Compute
from fibseg.models.trained import TrainedModel
from fibseg.prediction.adaptation import has_batch_norms, usual_shifts
from fibseg.prediction.intensity import spread
from fibseg.prediction.slices import slice_confidences
from fibseg.prediction.stack import LabelledSlice
from fibseg.prediction.windows import chosen_windows

WATCHED_SLICES = 5
"""Slices, spread over a stack, that are labelled first and compared with the training's."""

_MEASURED_SLICES = 10
"""Validation slices whose confidence is measured, at most."""

_ANNOTATED = 0.5
"""Share of a slice that must be annotated for its class shares to say anything."""

_FACTOR = 2.0
"""A share beyond the range by this factor, and by _LEAST, has left it: organelles vary."""

_LEAST = 0.002
"""Share of the pixels that a class must have too many or too few."""

_DOUBT_FACTOR = 1.5
"""How much larger 1 - confidence may be than in any slice of the training."""


def with_reference(
    model: TrainedModel,
    train: Sequence[AnnotatedSlice],
    validation: Sequence[AnnotatedSlice],
    channels: Sequence[UInt8],
    labels: Sequence[UInt8],
    compute: Compute,
) -> TrainedModel:
    """Give the model with what slices of its training look like, for `ShiftWatch`.

    Args:
        model: that was scored.
        train: training slices.
        validation: validation slices.
        channels: (C, H, W) of the validation slices.
        labels: (H, W) class indices that the model gives them.
        compute: what the network computes with.
    """
    count = len(model.class_names)
    annotated = [entry.labels for entry in (*train, *validation)]
    known = [pixels for pixels in annotated if (pixels != IGNORE).mean() >= _ANNOTATED]
    shares = [class_shares(pixels, count) for pixels in (*known, *labels)]
    confidences: list[float] = []
    moved: list[float] = []
    if not model.kind.compiled:
        try:
            chosen = spread(channels, _MEASURED_SLICES)
            confidences = slice_confidences(model, chosen, chosen_windows(model), compute)
            moved = usual_shifts(model, channels, compute)
        # The run is scored without it.
        except torch.OutOfMemoryError:
            pass
    reference: dict[str, Any] = {
        "shares": {
            name: _range([row[k] for row in shares]) for k, name in enumerate(model.class_names)
        },
        "confidence": _range(confidences),
        "shift": _range(moved),
    }
    samples = [sample_slice(entry.image, entry.in_mask)[1] for entry in train]
    try:
        summary = summary_of_samples(samples)
    # Slices of one grey value; the run is told of them elsewhere.
    except FibsegError:
        summary = None
    return replace(model, grey_summary=summary, reference=reference)


def _range(values: Sequence[float]) -> list[float] | None:
    return [min(values), max(values)] if values else None


def class_shares(labels: UInt8, count: int) -> list[float]:
    """Compute the share of each of `count` classes among the annotated pixels (H, W)."""
    counts = np.bincount(labels[labels != IGNORE], minlength=count)[:count]
    return [float(share) for share in counts / max(counts.sum(), 1)]


@dataclass
class ShiftWatch:
    """Compares the first labelled slices of a stack with the slices of the training.

    Attributes:
        models: that label the stack.
        positions: slices to compare.
        shares: of each class, in the slices so far.
        confidences: of the slices so far.
    """

    models: Sequence[TrainedModel]
    positions: Sequence[int]
    shares: list[list[float]] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    def add(self, labelled: LabelledSlice) -> list[str]:
        """Take a labelled slice; gives warnings, with the last of the positions."""
        if labelled.z not in self.positions:
            return []
        if labelled.labels is not None:
            names = self.models[0].class_names
            self.shares.append(class_shares(labelled.labels, len(names)))
        if labelled.confidence is not None:
            self.confidences.append(labelled.confidence)
        # In the order of the positions, so that the last one ends the sample.
        return list(self._doubts()) if labelled.z == self.positions[-1] else []

    def _doubts(self) -> Iterable[str]:
        references = [model.reference for model in self.models if model.reference is not None]
        # A model that was scored by an older version tells nothing.
        if len(references) < len(self.models) or not self.shares:
            return
        where = f"{len(self.shares)} slices over the stack"
        can_adapt = all(has_batch_norms(model) for model in self.models)
        advice = "; adapt=auto may help" if can_adapt else ""
        for k, name in enumerate(self.models[0].class_names):
            ranges = [reference["shares"].get(name) for reference in references]
            if k == 0 or None in ranges:
                continue
            low = min(known[0] for known in ranges)
            high = max(known[1] for known in ranges)
            share = float(np.mean([row[k] for row in self.shares]))
            beyond = max(low - share, share - high)
            if beyond > _LEAST and not low / _FACTOR <= share <= high * _FACTOR:
                yield (
                    f"{_percent(share)} {name} in {where}, {_percent(low)} to {_percent(high)} in "
                    "slices of the training; look at the first labels (other grey values, voxels "
                    f"or tissue?){advice}."
                )
        known = references[0]["confidence"]
        if known is None or not self.confidences:
            return
        confidence = float(np.mean(self.confidences))
        if 1 - confidence > _DOUBT_FACTOR * (1 - known[0]):
            yield (
                f"the network is less sure than in the training: its largest probability is "
                f"{confidence:.2f} on average in {where}, {known[0]:.2f} to {known[1]:.2f} in "
                "validation slices."
            )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
