"""The memory of a network's activations, counted before anything is computed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fibseg.errors import FibsegError
from fibseg.filters.shapes import TREE_BYTES
from fibseg.machine import Compute, free_memory
from fibseg.models.kinds import create_model
from fibseg.prediction.labeller import Labeller, network_of
from fibseg.prediction.memory import (
    Load,
    has_exact_tiles,
    lighter_loads,
    memory_advice,
    memory_of,
)
from fibseg.prediction.voxels import resized_size


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


def affordable(labeller: Labeller, height: int, width: int, say: Callable[[str], None]) -> Labeller:
    """Give the labeller with the heaviest load that the memory bears, for slices of this size.

    The system ends a process whose memory does not suffice, without a sentence. Batches are
    therefore halved before the start, and windows made smaller where that changes no label; and
    fewer slices are filtered at a time.

    Raises:
        FibsegError: the lightest load needs more memory than there is.
    """
    rows, columns = resized_size(height, width, labeller.scale)
    device = labeller.compute.device
    free = memory_of(device)
    if device.type == "cpu":
        free = int(free * labeller.compute.memory_share)
    exact_tiles = has_exact_tiles(labeller.models)
    next_load = lighter_loads(device, exact_tiles, (1, rows, columns), say)
    load = labeller.first_load
    while (needed := activation_bytes(labeller, rows, columns, load)) > free:
        lightened = next_load(load)
        if lightened is None:
            raise FibsegError(
                f"{device}: windows {load.windows} need {needed / 1e9:.2g} GB for activations, and "
                f"{free / 1e9:.2g} GB are free; {memory_advice(load.windows, labeller.models)}."
            )
        load = lightened
    compute = _with_fewer_filters(labeller, rows * columns, say)
    return replace(labeller, load=load, compute=compute)


def _with_fewer_filters(labeller: Labeller, pixels: int, say: Callable[[str], None]) -> Compute:
    """Let the trees of slices take half of the memory at most; one slice is always filtered."""
    compute = labeller.compute
    free = free_memory() * compute.memory_share / 2
    most = max(1, int(free // (TREE_BYTES * pixels)))
    has_filter = any(model.channels.slice_areas for model in labeller.models)
    if not has_filter or most >= compute.filter_threads:
        return compute
    say(
        f"{most} slices are filtered at a time, and not {compute.filter_threads}: each takes "
        f"{TREE_BYTES * pixels / 1e9:.2g} GB, and {2 * free / 1e9:.2g} GB are free"
    )
    return replace(compute, filter_threads=most)


def activation_bytes(labeller: Labeller, height: int, width: int, load: Load | None = None) -> int:
    """Count the most bytes of activations at one time for slices of this size; computes nothing.

    What a library takes beside them while it convolves is not in it. `load` is that of the labeller
    where none is given.
    """
    load = load or labeller.first_load
    windows = load.windows
    pixels = max(rows * columns for rows, columns in windows.batches(height, width, None))
    # A forest is code that numba compiles, which torch does not see.
    forests: list[Any] = [model.network for model in labeller.models if model.kind.compiled]
    peak: int = max((network.bytes_for(pixels) for network in forests), default=0)
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
    network, channels = network_of(
        replace(labeller, models=empty, windows=windows, compute=compute)
    )
    batches = windows.batches(height, width, load.batch_size)
    for (rows, columns), count in batches.items():
        with torch.inference_mode(), LiveBytes() as counted:
            network(torch.empty((count, channels, rows, columns), dtype=dtype, device=meta))
        peak = max(peak, counted.peak)
    return peak
