"""Label slices with any callable from channels to logits, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fibseg.checkpoint import TrainedModel
from fibseg.datamodule import slice_channels
from fibseg.dataset import read_finite, to_8bit
from fibseg.patches import window_starts, window_third
from fibseg.stack import Stack

UInt8 = NDArray[np.uint8]


def predict_slice(
    network: Callable[[Tensor], Tensor], channels: UInt8, size: int, batch_size: int, device: torch.device
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

    Returns:
        (H, W) class indices.
    """
    _, height, width = channels.shape
    third = window_third(size)
    rows, border_rows = window_starts(height, size)
    columns, border_columns = window_starts(width, size)
    padded = torch.from_numpy(np.pad(channels, ((0, 0), border_rows, border_columns), mode="reflect")).to(device)
    labels = torch.zeros((len(rows) * third, len(columns) * third), dtype=torch.uint8)
    places = [(int(row), int(column)) for row in rows for column in columns]
    centre = slice(third, 2 * third)
    with torch.inference_mode():
        for first in range(0, len(places), batch_size):
            chosen = places[first : first + batch_size]
            windows = torch.stack([padded[:, row : row + size, column : column + size] for row, column in chosen])
            logits = network(windows.float().mul_(1 / 255))
            kept = logits[..., centre, centre].argmax(dim=1).to("cpu", torch.uint8)
            for (row, column), tile in zip(chosen, kept, strict=True):
                labels[row : row + third, column : column + third] = tile
    return labels[:height, :width].numpy()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Half precision for "bf16", nothing for "32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def predict_stack(
    model: TrainedModel, stack: Stack, batch_size: int, device: torch.device, precision: str
) -> Iterator[tuple[UInt8, float]]:
    """Slice by slice: (H, W) class indices, and the share of pixels outside the training's intensity window."""
    network = model.network.to(device).eval()
    low, high = model.window
    for z in range(stack.shape[0]):
        image = read_finite(stack, z)
        channels = slice_channels([to_8bit(image, model.window)], model.areas, cache=None, processes=1)[0]
        outside = float(((image < low) | (image > high)).mean())
        with autocast(device, precision):
            yield predict_slice(network, channels, model.patch_size, batch_size, device), outside
