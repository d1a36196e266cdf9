"""What a prediction will take: memory of the network's activations, seconds per slice."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fibseg.arrays import Pixels, UInt8
from fibseg.data.grey import to_8bit
from fibseg.errors import FibsegError
from fibseg.files import require_disk
from fibseg.filters.grain import grain_filter
from fibseg.models.kinds import create_model
from fibseg.prediction.memory import memory_of
from fibseg.prediction.slices import autocast, label_table
from fibseg.prediction.stack import Labeller, network_of
from fibseg.prediction.voxels import resized, resized_size
from fibseg.stack import Stack, read_finite

TRIAL_SIDE = 256
"""Side in pixels of the crop that is labelled for an estimate."""


def report_needs(
    folder: Path,
    labeller: Labeller,
    stack: Stack,
    missing: Sequence[int],
    console: Console,
) -> None:
    """Print what the prediction needs of disk, time and memory, before anything is computed.

    Args:
        folder: where slices are kept.
        labeller: what labels a slice.
        stack: the image.
        missing: slices to label.
        console: takes the lines.

    Raises:
        FibsegError: the disk is too small.
    """
    depth, height, width = stack.shape
    report_memory(labeller, height, width, console)
    itemsize = label_table(labeller.models[0].label_values).itemsize
    # Labels shrink to a tenth and less; layers hardly.
    bytes_per_pixel = 0.1 * itemsize + len(labeller.layers)
    # Slices are kept once, then the outputs are written with a pyramid.
    needed = bytes_per_pixel * height * width * (len(missing) + 1.4 * depth)
    require_disk(folder, needed, "the labels")
    console.print(f"about {needed / 1e9:.2g} GB will be written at most")
    if missing:
        # A failed estimate ends no prediction: what is wrong is reported by the prediction itself.
        with suppress(FibsegError, RuntimeError):
            image = read_finite(stack, missing[0])
            console.print(estimate(labeller, image, len(missing)))


def report_memory(labeller: Labeller, height: int, width: int, console: Console) -> None:
    """Warn where activations need more memory than there is: the system ends such a process."""
    needed = activation_bytes(labeller, *resized_size(height, width, labeller.scale))
    free = memory_of(labeller.compute.device)
    if needed > free:
        console.print(
            f"warning: windows {labeller.windows} need about {needed / 1e9:.2g} GB for "
            f"activations, and {free / 1e9:.2g} GB are free; windows=tiles tile=512 needs less."
        )


def estimate(labeller: Labeller, image: Pixels, slices: int) -> str:
    """Estimate time and memory in a sentence, from one slice (H, W) as it is in the stack."""
    grey = resized(to_8bit(image, labeller.models[0].grey_range), labeller.scale)
    seconds = seconds_per_slice(labeller, grey)
    total = seconds * slices
    gigabytes = activation_bytes(labeller, *grey.shape) / 1e9
    minutes = f" ({total / 60:.0f} minutes)" if total > 120 else ""
    return (
        f"about {seconds:.2g} s a slice, {total:.0f} s in all{minutes}; "
        f"{gigabytes:.2g} GB for activations"
    )


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive; `peak` is the most at one time.

    On the meta device tensors hold no memory: the storage of each is followed to its end.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        # Storage -> tensors that share it.
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        # The address of the storage: a view has that of the tensor that it is taken from.
        key = storage._cdata
        size = storage.nbytes()
        if key not in self._users:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._users[key] = self._users.get(key, 0) + 1
        # Not at the end of the program, when there is nothing left to count.
        weakref.finalize(tensor, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self.live -= size


def activation_bytes(labeller: Labeller, height: int, width: int) -> int:
    """Count the most bytes of activations at one time for slices of this size; computes nothing.

    What a library takes beside them while it convolves is not in it.
    """
    windows = labeller.windows
    pixels = max(rows * columns for rows, columns in windows.batches(height, width, None))
    # A forest is code that numba compiles, which torch does not see.
    forests: list[Any] = [model.network for model in labeller.models if model.kind.compiled]
    peak = max((network.bytes_for(pixels) for network in forests), default=0)
    networks = [model for model in labeller.models if model.kind.by_gradient]
    if not networks:
        return peak
    dtype = torch.bfloat16 if labeller.compute.precision == "bf16" else torch.float32
    meta = torch.device("meta")
    # On the meta device a network has shapes and no memory.
    with meta:
        empty = [
            replace(model, network=create_model(model.architecture, **model.arguments).to(dtype))
            for model in networks
        ]
    compute = replace(labeller.compute, device=meta)
    network, channels = network_of(replace(labeller, models=empty, compute=compute))
    batches = windows.batches(height, width, labeller.compute.batch_size)
    for (rows, columns), count in batches.items():
        with torch.inference_mode(), LiveBytes() as counted:
            network(torch.empty((count, channels, rows, columns), dtype=dtype, device=meta))
        peak = max(peak, counted.peak)
    return peak


def seconds_per_slice(labeller: Labeller, image: UInt8) -> float:
    """Time network and filter on the middle of an 8-bit slice (H, W), in seconds per slice.

    On a GPU they run beside each other, on a CPU they share its cores.
    """
    height, width = image.shape
    top = max(0, (height - TRIAL_SIDE) // 2)
    left = max(0, (width - TRIAL_SIDE) // 2)
    crop = np.ascontiguousarray(image[top : top + TRIAL_SIDE, left : left + TRIAL_SIDE])
    network, channels = network_of(labeller)
    compute = labeller.compute
    on_gpu = compute.device.type == "cuda"
    # A GPU is fast with a full batch only; on a CPU the time of one crop is enough.
    count = compute.batch_size if on_gpu else 1
    pixels = np.broadcast_to(crop, (count, channels, *crop.shape)).copy()
    batch = torch.from_numpy(pixels).to(compute.device)
    # The first pass chooses kernels; the second one is timed.
    for _ in range(2):
        start = perf_counter()
        with torch.inference_mode(), autocast(compute):
            # The copy to the host waits until a GPU has finished.
            network(batch.float().mul_(1 / 255)).argmax(1).cpu()
        batch_seconds = perf_counter() - start
    windows = labeller.windows.batches(height, width, None)
    window_pixels = sum(number * rows * columns for (rows, columns), number in windows.items())
    network_seconds = batch_seconds * window_pixels / (count * crop.size)
    filters = {model.channels for model in labeller.models if model.channels.areas}
    start = perf_counter()
    # Models of the same areas share the filtered slices.
    for areas in {channels_of_model.areas for channels_of_model in filters}:
        grain_filter(crop, areas)
    by_patch = any(channels_of_model.by_patch for channels_of_model in filters)
    filtered_pixels = window_pixels if by_patch else height * width
    trial_seconds = perf_counter() - start
    filter_seconds = trial_seconds * filtered_pixels / crop.size / compute.processes
    if on_gpu:
        return max(network_seconds, filter_seconds)
    return network_seconds + filter_seconds
