"""Label slices with any callable from channels to scores, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fibseg.filters.patches import PatchFilter
from fibseg.filters.slices import slice_channels
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import Model
from fibseg.models.trained import TrainedModel
from fibseg.prediction.windows import (
    Cut,
    Windows,
    _at_once,
    _shape,
    blend_weights,
)

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]
Network = Callable[[Tensor], Tensor]


def predict_slice(
    network: Network,
    channels: UInt8,
    windows: Windows,
    batch_size: int,
    device: torch.device,
    window_filter: Callable[[UInt8], UInt8] | None = None,
) -> UInt8:
    """Class indices (H, W) of one slice.

    Args:
        network: (N, C, h, w) float32 in [0, 1] -> (N, K, h, w) logits or probabilities, on `device`.
        channels: (C, H, W).
        windows: how the slice is cut.
        batch_size: windows at once; tiles are as many as have no more pixels than so many windows of 256 x 256.
        device: where the network is.
        window_filter: makes (N, C, h, w) of (N, h, w) windows, where each window is filtered by itself.
    """
    if windows.kind == "blend":  # of probabilities
        blended = predict_scores(network, channels, windows, batch_size, device, window_filter)
        return np.asarray(blended.argmax(0), np.uint8)
    labels = np.empty(channels.shape[1:], np.uint8)
    for places, scores in _batches(network, channels, windows, batch_size, device, window_filter):
        found = scores.argmax(dim=1).to("cpu", torch.uint8).numpy()
        for (rows, columns), one in zip(places, found, strict=True):
            labels[rows.first : rows.last, columns.first : columns.last] = _used(one, rows, columns)
    return labels


def predict_scores(
    network: Network,
    channels: UInt8,
    windows: Windows,
    batch_size: int,
    device: torch.device,
    window_filter: Callable[[UInt8], UInt8] | None = None,
) -> Floats:
    """Scores (K, H, W) float32 of one slice; arguments as in `predict_slice`.

    Windows that overlap ("blend") are averaged as they are: let the network give probabilities.
    """
    height, width = channels.shape[1:]
    total: Tensor | None = None
    sums = torch.zeros((height, width), device=device)
    weights = (
        torch.from_numpy(blend_weights(windows.size)).to(device)
        if windows.kind == "blend"
        else None
    )
    for places, scores in _batches(network, channels, windows, batch_size, device, window_filter):
        if total is None:
            total = torch.zeros((scores.shape[1], height, width), device=device)
        for (rows, columns), one in zip(places, scores.float(), strict=True):
            here = (slice(rows.first, rows.last), slice(columns.first, columns.last))
            if weights is None:
                total[:, *here] = _used(one, rows, columns)
                continue
            weight = _used(weights, rows, columns)
            total[:, *here] += _used(one, rows, columns) * weight
            sums[here] += weight
    if total is None:
        raise ValueError("a slice without pixels")
    found = total if weights is None else total / sums
    return np.asarray(found.cpu().numpy(), np.float32)


def _used(window: Any, rows: Cut, columns: Cut) -> Any:
    """The used part of (..., h, w)."""
    return window[
        ...,
        rows.first - rows.start : rows.last - rows.start,
        columns.first - columns.start : columns.last - columns.start,
    ]


def _batches(
    network: Network,
    channels: UInt8,
    windows: Windows,
    batch_size: int,
    device: torch.device,
    window_filter: Callable[[UInt8], UInt8] | None,
) -> Iterator[tuple[list[tuple[Cut, Cut]], Tensor]]:
    """Places and scores of windows of one shape at a time; what passes the borders is mirrored."""
    cuts = windows.cuts(*channels.shape[1:])
    before = [max(0, -min(cut[axis].start for cut in cuts)) for axis in (0, 1)]
    after = [
        max(0, max(cut[axis].stop for cut in cuts) - channels.shape[1 + axis]) for axis in (0, 1)
    ]
    padded = torch.from_numpy(
        np.pad(channels, ((0, 0), *zip(before, after, strict=True)), mode="reflect")
    )
    padded = padded.to(device if window_filter is None else "cpu")
    for (height, width), group in groupby(sorted(cuts, key=_shape), key=_shape):
        places = list(group)
        count = _at_once(windows, height, width, batch_size)
        for first in range(0, len(places), count):
            chosen = places[first : first + count]
            parts = [
                padded[:, top : top + height, left : left + width]
                for top, left in (
                    (rows.start + before[0], columns.start + before[1]) for rows, columns in chosen
                )
            ]
            batch = torch.stack(parts)
            if window_filter is not None:
                batch = torch.from_numpy(window_filter(batch[:, 0].numpy())).to(device)
            with torch.inference_mode():
                yield chosen, network(batch.float().mul_(1 / 255))


def probabilities(network: Network) -> Network:
    """A network of logits as one of probabilities (N, K, h, w)."""
    return lambda images: network(images).float().softmax(dim=1)


def deciding(network: Model) -> Network:
    """For labels alone: a forest may stop once its largest class is certain."""
    return network.votes if isinstance(network, ForestNetwork) else network


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Half precision for "bf16", nothing for "32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def predict_slices(
    model: TrainedModel,
    channels: Iterable[UInt8],
    windows: Windows,
    batch_size: int,
    device: torch.device,
    precision: str,
    processes: int,
) -> Iterator[UInt8]:
    """Class indices (H, W) of slices that `model_channels` made."""
    network = model.network.to(device).eval()
    scores = probabilities(network) if windows.kind == "blend" else deciding(network)
    by_window = bool(model.areas) and model.filter_scope == "patch"
    with PatchFilter(list(model.areas), processes) if by_window else nullcontext() as window_filter:
        for one in channels:
            with autocast(device, precision):
                labels = predict_slice(scores, one, windows, batch_size, device, window_filter)
            yield labels


def model_channels(
    model: TrainedModel, images: Sequence[UInt8], cache: Path | None, processes: int
) -> Sequence[NDArray[np.uint8]]:
    """Channels of 8-bit slices, as far as they are made of whole slices."""
    return slice_channels(
        images, model.areas if model.filter_scope == "slice" else [], cache, processes
    )
