"""What a prediction will take, told before it starts: memory of the network's activations, seconds per slice."""

from __future__ import annotations

import weakref
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fibseg.data.grey import to_8bit
from fibseg.filters.grain import grain_filter
from fibseg.models.forest import ForestNetwork
from fibseg.models.kinds import create_model
from fibseg.prediction.slices import autocast
from fibseg.prediction.stack import Labeller, network_of, resized
from fibseg.prediction.windows import batch_of


def estimate(labeller: Labeller, image: NDArray[Any], slices: int) -> str:
    """A sentence for a person, from one slice (H, W) as it is in the stack."""
    grey = resized(to_8bit(image, labeller.models[0].window), labeller.scale)
    seconds, used = seconds_per_slice(labeller, grey), activation_bytes(labeller, *grey.shape)
    minutes = f" ({seconds * slices / 60:.0f} minutes)" if seconds * slices > 120 else ""
    return f"about {seconds:.2g} s a slice, {seconds * slices:.0f} s in all{minutes}; {used / 1e9:.2g} GB for activations"


TRIED = 256
"""Side in pixels of what is labelled for an estimate."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations make while they are alive; `peak` is the most at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self._seen(one)
        return result

    def _seen(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._users:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._users[key] = self._users.get(key, 0) + 1
        weakref.finalize(tensor, self._gone, key, size).atexit = False

    def _gone(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self.live -= size


def activation_bytes(labeller: Labeller, height: int, width: int) -> int:
    """Most bytes of activations at one time, for slices of this size; nothing is computed.

    What a library takes beside them while it convolves is not in it.
    """
    pixels = max(
        rows * columns for rows, columns in batch_of(labeller.windows, height, width, None)
    )
    forests = [
        model.network for model in labeller.models if isinstance(model.network, ForestNetwork)
    ]
    peak = max((network.bytes_for(pixels) for network in forests), default=0)
    labeller = replace(
        labeller, models=[one for one in labeller.models if one.architecture != "forest"]
    )
    if not labeller.models:
        return peak
    kind = torch.bfloat16 if labeller.precision == "bf16" else torch.float32
    meta = torch.device("meta")
    with meta:
        empty = [
            create_model(model.architecture, **model.arguments).to(kind)
            for model in labeller.models
        ]
    models = [
        replace(model, network=network)
        for model, network in zip(labeller.models, empty, strict=True)
    ]
    network, channels = network_of(replace(labeller, models=models, device=meta))
    for (rows, columns), count in batch_of(
        labeller.windows, height, width, labeller.batch_size
    ).items():
        with torch.inference_mode(), LiveBytes() as counted:
            network(torch.empty((count, channels, rows, columns), dtype=kind, device=meta))
        peak = max(peak, counted.peak)
    return peak


def seconds_per_slice(labeller: Labeller, image: NDArray[np.uint8]) -> float:
    """From a trial on the middle of an 8-bit slice (H, W): the network, and the filter where there is one.

    On a GPU they run beside each other, on a CPU they share its cores.
    """
    height, width = image.shape
    top, left = max(0, (height - TRIED) // 2), max(0, (width - TRIED) // 2)
    crop = np.ascontiguousarray(image[top : top + TRIED, left : left + TRIED])
    network, channels = network_of(labeller)
    gpu = labeller.device.type == "cuda"
    count = labeller.batch_size if gpu else 1
    pixels = torch.from_numpy(np.broadcast_to(crop, (count, channels, *crop.shape)).copy()).to(
        labeller.device
    )
    for _ in range(2):  # the first one chooses kernels
        start = perf_counter()
        with torch.inference_mode(), autocast(labeller.device, labeller.precision):
            network(pixels.float().mul_(1 / 255)).argmax(1).cpu()
        took = perf_counter() - start
    shown = sum(
        n * rows * columns
        for (rows, columns), n in batch_of(labeller.windows, height, width, None).items()
    )
    by_network = took * shown / (count * crop.size)
    filtered = {tuple(model.areas): model.filter_scope for model in labeller.models if model.areas}
    start = perf_counter()
    for areas in filtered:
        grain_filter(crop, list(areas))
    area = shown if "patch" in filtered.values() else height * width
    by_filter = (perf_counter() - start) * area / crop.size / labeller.processes
    return max(by_network, by_filter) if gpu else by_network + by_filter
