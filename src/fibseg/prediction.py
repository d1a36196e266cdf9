"""Label slices with any callable from channels to logits, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fibseg.checkpoint import TrainedModel
from fibseg.datamodule import slice_channels
from fibseg.dataset import read_finite
from fibseg.intensity import to_8bit
from fibseg.patch_filter import PatchFilter
from fibseg.patches import window_starts, window_third
from fibseg.stack import Stack

UInt8 = NDArray[np.uint8]


def predict_slice(
    network: Callable[[Tensor], Tensor],
    channels: UInt8,
    size: int,
    batch_size: int,
    device: torch.device,
    window_filter: Callable[[UInt8], UInt8] | None = None,
) -> UInt8:
    """Class indices of one slice by the paper's windows (Meyer et al., ISBI 2021, section 2.3).

    Windows of `size` at a stride of a third; the centre third is kept, so each pixel is written once and nothing is
    averaged. The slice is mirrored at its borders. This does nine times the work of the slice itself.

    Args:
        network: (N, C, size, size) float32 in [0, 1] -> (N, K, size, size) logits, on `device`.
        channels: (C, H, W).
        size: side of a window in pixels.
        batch_size: windows at once.
        device: where the network is.
        window_filter: makes (N, C, size, size) of (N, size, size) windows, where each window is filtered by itself.

    Returns:
        (H, W) class indices.
    """
    _, height, width = channels.shape
    third = window_third(size)
    rows, border_rows = window_starts(height, size)
    columns, border_columns = window_starts(width, size)
    padded = torch.from_numpy(np.pad(channels, ((0, 0), border_rows, border_columns), mode="reflect"))
    padded = padded.to(device if window_filter is None else "cpu")
    labels = torch.zeros((len(rows) * third, len(columns) * third), dtype=torch.uint8)
    places = [(int(row), int(column)) for row in rows for column in columns]
    centre = slice(third, 2 * third)
    with torch.inference_mode():
        for first in range(0, len(places), batch_size):
            chosen = places[first : first + batch_size]
            windows = torch.stack([padded[:, row : row + size, column : column + size] for row, column in chosen])
            if window_filter is not None:
                windows = torch.from_numpy(window_filter(windows[:, 0].numpy())).to(device)
            logits = network(windows.float().mul_(1 / 255))
            kept = logits[..., centre, centre].argmax(dim=1).to("cpu", torch.uint8)
            for (row, column), tile in zip(chosen, kept, strict=True):
                labels[row : row + third, column : column + third] = tile
    return labels[:height, :width].numpy()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Half precision for "bf16", nothing for "32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def predict_slices(
    model: TrainedModel,
    channels: Sequence[UInt8] | Iterator[UInt8],
    batch_size: int,
    device: torch.device,
    precision: str,
    processes: int,
) -> Iterator[UInt8]:
    """Class indices (H, W) of slices that `model_channels` made."""
    network = model.network.to(device).eval()
    by_window = bool(model.areas) and model.filter_scope == "patch"
    with PatchFilter(list(model.areas), processes) if by_window else nullcontext() as window_filter:
        for one in channels:
            with autocast(device, precision):
                labels = predict_slice(network, one, model.patch_size, batch_size, device, window_filter)
            yield labels


def model_channels(
    model: TrainedModel, images: Sequence[UInt8], cache: Path | None, processes: int
) -> Sequence[NDArray[np.uint8]]:
    """Channels of 8-bit slices, as far as they are made of whole slices."""
    return slice_channels(images, model.areas if model.filter_scope == "slice" else [], cache, processes)


def predict_stack(
    model: TrainedModel, stack: Stack, batch_size: int, device: torch.device, precision: str, processes: int,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Iterator[tuple[UInt8, float]]:  # fmt: skip
    """Slice by slice: (H, W) class indices, and the share of pixels outside the training's intensity window.

    `scale` (rows, columns) enlarges each slice for the network, and its labels are brought back to the stack's size:
    pixel size of the stack over that of the training.
    """
    outside = []

    def channels() -> Iterator[UInt8]:
        for z in range(stack.shape[0]):
            image = read_finite(stack, z)
            outside.append(model.window.outside(image))
            grey = resized(to_8bit(image, model.window), scale)
            yield model_channels(model, [grey], cache=None, processes=1)[0]

    height, width = stack.shape[1:]
    for labels in predict_slices(model, channels(), batch_size, device, precision, processes):
        yield (labels if scale == (1.0, 1.0) else _nearest(labels, height, width)), outside[-1]


def resized(image: UInt8, scale: tuple[float, float]) -> UInt8:
    """(H, W) grey values at another pixel size: bilinear, averaged where it shrinks."""
    if scale == (1.0, 1.0):
        return image
    size = [max(1, round(side * factor)) for side, factor in zip(image.shape, scale, strict=True)]
    tensor = torch.from_numpy(image.astype(np.float32))[None, None]
    found = torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", antialias=True)
    return np.asarray(found[0, 0].round().clamp(0, 255).to(torch.uint8).numpy())


def _nearest(labels: UInt8, height: int, width: int) -> UInt8:
    """Labels at another size: each pixel takes the one that its centre lies in."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[np.ix_(rows, columns)]
