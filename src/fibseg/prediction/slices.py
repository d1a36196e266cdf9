"""Label slices with any function from channels to scores, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fibseg.arrays import UInt8
from fibseg.filters.patches import PatchFilter, prefetched
from fibseg.filters.slices import slice_channels
from fibseg.machine import Compute
from fibseg.models.foreign.running import showing
from fibseg.models.trained import TrainedModel
from fibseg.prediction.windows import Cut, Windows, blend_weights, cut_shape
from fibseg.scores.smallest import without_small

Scores = NDArray[np.float32]
Network = Callable[[Tensor], Tensor]
"""(N, C, h, w) float32 in [0, 1] -> (N, K, h, w) logits or probabilities."""

_Cuts = list[tuple[Cut, Cut]]

_SMALLEST = 1e-7
"""Stands for a probability of 0, whose logarithm would be infinite."""


@dataclass(frozen=True)
class WindowedNetwork:
    """A network, and the windows in which it sees a slice.

    Attributes:
        network: on `compute.device`.
        windows: how a slice is cut.
        compute: device, precision and size of a batch.
        window_filter: makes the channels of single windows, where they are filtered by themselves.
    """

    network: Network
    windows: Windows
    compute: Compute
    window_filter: PatchFilter | None = None

    def labels(self, channels: UInt8) -> UInt8:
        """Compute the class indices (H, W) of a slice (C, H, W)."""
        return self._decide(channels, measured=False)[0]

    def labels_and_confidence(self, channels: UInt8) -> tuple[UInt8, float]:
        """Compute class indices, and the mean over the pixels of the largest probability.

        The network must give logits, but for windows that overlap ("blend").
        """
        return self._decide(channels, measured=True)

    def _decide(self, channels: UInt8, measured: bool) -> tuple[UInt8, float]:
        # Windows that overlap are averaged before the largest class is taken.
        if self.windows.kind == "blend":
            mean = self.scores(channels)
            return np.asarray(mean.argmax(0), np.uint8), float(mean.max(axis=0).mean())
        # The used parts of all other windows tile the slice, so that each pixel is written once.
        labels = np.empty(channels.shape[1:], np.uint8)
        confidence = 0.0
        for cuts, scores in self._batches(channels):
            # Reduced on the device: one byte a pixel is copied in place of K floats.
            classes = scores.argmax(dim=1).to("cpu", torch.uint8).numpy()
            for (rows, columns), window in zip(cuts, classes, strict=True):
                used = _used(window, rows, columns)
                labels[rows.first : rows.last, columns.first : columns.last] = used
            if measured:
                largest = scores.float().softmax(dim=1).amax(dim=1)
                pairs = zip(cuts, largest, strict=True)
                confidence += sum(float(_used(window, *cut).sum()) for cut, window in pairs)
        return labels, confidence / labels.size

    def scores(self, channels: UInt8) -> Scores:
        """Compute the scores (K, H, W) of a slice (C, H, W).

        Windows that overlap ("blend") are averaged as they are: let the network give probabilities.
        """
        height, width = channels.shape[1:]
        device = self.compute.device
        blend = self.windows.kind == "blend"
        weights = torch.from_numpy(blend_weights(self.windows.size)).to(device) if blend else None
        total: Tensor | None = None
        weight_sums = torch.zeros((height, width), device=device)
        for cuts, scores in self._batches(channels):
            if total is None:
                # Made at the first window, which tells the number of scores.
                total = torch.zeros((scores.shape[1], height, width), device=device)
            for (rows, columns), window in zip(cuts, scores.float(), strict=True):
                place = (slice(rows.first, rows.last), slice(columns.first, columns.last))
                if weights is None:
                    total[:, *place] = _used(window, rows, columns)
                    continue
                weight = _used(weights, rows, columns)
                total[:, *place] += _used(window, rows, columns) * weight
                weight_sums[place] += weight
        if total is None:
            raise ValueError("a slice without pixels")
        mean = total / weight_sums if blend else total
        return np.asarray(mean.cpu().numpy(), np.float32)

    def _batches(self, channels: UInt8) -> Iterator[tuple[_Cuts, Tensor]]:
        """Give cuts and scores of windows of one shape at a time; mirrored beyond the borders."""
        cuts = self.windows.cuts(*channels.shape[1:])
        # The paper's windows reach beyond the borders; for all others these are 0.
        before = [max(0, -min(cut[axis].start for cut in cuts)) for axis in (0, 1)]
        after = [
            max(0, max(cut[axis].stop for cut in cuts) - channels.shape[1 + axis])
            for axis in (0, 1)
        ]
        borders = ((0, 0), *zip(before, after, strict=True))
        padded = torch.from_numpy(np.pad(channels, borders, mode="reflect"))
        # Windows that are filtered one by one are needed on the host.
        padded = padded.to(self.compute.device if self.window_filter is None else "cpu")
        batches = self._cut(padded, cuts, before)
        if self.window_filter is not None:
            batches = _filtered_ahead(batches, self.window_filter)
        for chosen, windows in batches:
            # As `fibseg.data.module` does it, so that both see the same floats to the last bit.
            images = windows.to(self.compute.device).float().mul_(1 / 255)
            with torch.inference_mode(), showing(channels):
                scores = self.network(images)
            yield chosen, scores

    def _cut(
        self, padded: Tensor, cuts: Sequence[tuple[Cut, Cut]], before: Sequence[int]
    ) -> Iterator[tuple[_Cuts, Tensor]]:
        """Give cuts and windows (N, C, h, w) of one shape at a time."""
        # Windows of one shape make a batch; tiles at the borders are smaller.
        for (height, width), group in groupby(sorted(cuts, key=cut_shape), key=cut_shape):
            same_shape = list(group)
            count = self.windows.at_once(height, width, self.compute.batch_size)
            for first in range(0, len(same_shape), count):
                chosen = same_shape[first : first + count]
                batch = []
                for rows, columns in chosen:
                    top = rows.start + before[0]
                    left = columns.start + before[1]
                    batch.append(padded[:, top : top + height, left : left + width])
                yield chosen, torch.stack(batch)


def _filtered_ahead(
    batches: Iterator[tuple[_Cuts, Tensor]], window_filter: PatchFilter
) -> Iterator[tuple[_Cuts, Tensor]]:
    """Put filtered channels behind the first one, while the network is at the batch before."""

    def begin(batch: tuple[_Cuts, Tensor]) -> Callable[[], tuple[_Cuts, Tensor]]:
        filtered = window_filter.begin(batch[1][:, 0].numpy())
        return lambda: (batch[0], torch.cat([torch.from_numpy(filtered()), batch[1][:, 1:]], 1))

    return prefetched(batches, begin, 1)


def _used(window: Any, rows: Cut, columns: Cut) -> Any:
    """Cut out the used part of (..., h, w)."""
    return window[
        ...,
        rows.first - rows.start : rows.last - rows.start,
        columns.first - columns.start : columns.last - columns.start,
    ]


def scores_of(model: TrainedModel, device: torch.device) -> Network:
    """Give a model's network on a device, in evaluation mode, with its decision in its scores."""
    network: Network = model.network.to(device).eval()
    decide = decision_of(model, device)
    return network if decide is None else lambda images: decide(network(images))


def decision_of(model: TrainedModel, device: torch.device) -> Network | None:
    """Give what puts a model's decision into logits (N, K, h, w); None where they stay."""
    decision = model.decision
    if decision is None or decision.is_plain:
        return None
    offsets = torch.tensor(decision.offsets, device=device)[:, None, None]
    factor = 1 / decision.temperature
    return lambda logits: (logits.float() + offsets) * factor


def probabilities(network: Network, classes: int | None = None) -> Network:
    """Turn a network of logits into one of probabilities (N, K, h, w).

    What stands behind the first `classes` channels stays as it is; None for nothing.
    """
    if classes is None:
        return lambda images: network(images).float().softmax(dim=1)

    def scores(images: Tensor) -> Tensor:
        values = network(images).float()
        return torch.cat([values[:, :classes].softmax(dim=1), values[:, classes:]], dim=1)

    return scores


def deciding(model: TrainedModel, device: torch.device) -> Network:
    """Give `scores_of` for labels alone: a forest may stop once its largest class is certain."""
    network: Any = model.network
    is_plain = model.decision is None or model.decision.is_plain
    if model.kind.compiled and is_plain:
        return network.votes  # type: ignore[no-any-return]
    return scores_of(model, device)


def autocast(compute: Compute) -> AbstractContextManager[object]:
    """Compute in half precision for "bf16", and as usual for "32"."""
    if compute.precision == "bf16":
        return torch.autocast(compute.device.type, torch.bfloat16)
    return nullcontext()


@contextmanager
def windowed_network(
    model: TrainedModel, scoring: Network, windows: Windows, compute: Compute
) -> Iterator[WindowedNetwork]:
    """A network with windows; threads filter them where the model wants that."""
    by_patch = model.channels.by_patch
    patch_filter = PatchFilter(model.channels.areas, compute.filter_threads) if by_patch else None
    with patch_filter or nullcontext():
        yield WindowedNetwork(scoring, windows, compute, patch_filter)


def predict_slices(
    model: TrainedModel, channels: Iterable[UInt8], windows: Windows, compute: Compute
) -> Iterator[UInt8]:
    """Give class indices (H, W) of slices whose channels (C, H, W) `model_channels` made."""
    if windows.kind == "blend":
        scoring = probabilities(scores_of(model, compute.device))
    else:
        scoring = deciding(model, compute.device)
    with windowed_network(model, scoring, windows, compute) as windowed:
        for slice_channel in channels:
            with autocast(compute):
                labels = windowed.labels(slice_channel)
            labels = without_small(labels, smallest_of([model]))
            # Outside of `autocast`, which would otherwise stay switched on in the caller.
            yield labels


def smallest_of(models: Sequence[TrainedModel]) -> list[int]:
    """Pixels of the smallest object of each class, the median over models; 0 for no limit."""
    sizes = [
        list(model.decision.smallest)
        for model in models
        if model.decision is not None and model.decision.smallest
    ]
    if not sizes:
        return []
    # A model without limits counts as one whose limits are 0.
    sizes += [[0] * len(sizes[0])] * (len(models) - len(sizes))
    return [int(size) for size in np.median(sizes, axis=0)]


def slice_scores(
    model: TrainedModel, channels: Iterable[UInt8], windows: Windows, compute: Compute
) -> list[Scores]:
    """Compute the logits (K, H, W) of slices (C, H, W), which are cut as in `predict_slices`.

    By windows that overlap ("blend"), these are the logarithms of mean probabilities.
    """
    network = scores_of(model, compute.device)
    is_blend = windows.kind == "blend"
    scoring = probabilities(network) if is_blend else network
    with windowed_network(model, scoring, windows, compute) as windowed, autocast(compute):
        scores = [windowed.scores(pixels) for pixels in channels]
    return [np.log(np.maximum(values, _SMALLEST)) for values in scores] if is_blend else scores


def slice_confidences(
    model: TrainedModel, channels: Iterable[UInt8], windows: Windows, compute: Compute
) -> list[float]:
    """Measure the mean confidence of slices (C, H, W), which are cut as in `predict_slices`."""
    network = scores_of(model, compute.device)
    scoring = probabilities(network) if windows.kind == "blend" else network
    with windowed_network(model, scoring, windows, compute) as windowed, autocast(compute):
        return [windowed.labels_and_confidence(pixels)[1] for pixels in channels]


def model_channels(
    model: TrainedModel, images: Sequence[UInt8], cache: Path | None, threads: int
) -> list[UInt8]:
    """Make the channels (C, H, W) of 8-bit slices (H, W), as far as whole slices give them."""
    return slice_channels(images, model.channels.slice_areas, cache, threads)


def label_table(values: Sequence[int]) -> NDArray[Any]:
    """Label value of each class index, in the smallest type that holds them all."""
    table = np.array(values)
    if table.min() < 0:
        return table.astype(np.int32)
    return table.astype(np.min_scalar_type(int(table.max())))
