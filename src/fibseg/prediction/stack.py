"""Label whole stacks: reading, filtering, the network and writing overlap, and what is done stays done."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fibseg.data.grey import to_8bit
from fibseg.data.slices import read_finite
from fibseg.errors import FibsegError
from fibseg.filters.patches import PatchFilter, channels_of
from fibseg.models.trained import TrainedModel
from fibseg.prediction.ensemble import Ensemble, Source, source_of, sources_of
from fibseg.prediction.slices import (
    Network,
    autocast,
    deciding,
    predict_scores,
    predict_slice,
    probabilities,
)
from fibseg.prediction.windows import Windows
from fibseg.stack import Stack

UInt8 = NDArray[np.uint8]
_T = TypeVar("_T")
READERS = 2
"""Threads that read slices ahead of the network."""


@dataclass(frozen=True)
class Labeller:
    """What labels a slice.

    Attributes:
        models: one, or several to average.
        windows: how a slice is cut.
        device, precision, batch_size: of the networks.
        processes: that filter slices or windows.
        scale: (rows, columns) that enlarge a slice for the network; labels are brought back to the stack's size.
        turned: average over the eight flips and rotations.
        layers: beside the labels: "disagreement", or a class name for its probability.
    """

    models: Sequence[TrainedModel]
    windows: Windows
    device: torch.device
    precision: str
    batch_size: int
    processes: int
    scale: tuple[float, float] = (1.0, 1.0)
    turned: bool = False
    layers: Sequence[str] = ()


@dataclass(frozen=True)
class Labelled:
    """One slice: class indices (H, W), share of pixels outside the training's grey values, and layers (H, W) uint8.

    A layer is a probability or a share times 255; `digest` is of the image. `error` is set, and nothing else, where the
    slice cannot be read.
    """

    z: int
    labels: UInt8 | None = None
    outside: float = 0.0
    digest: str = ""
    layers: list[UInt8] = field(default_factory=list)
    error: FibsegError | None = None


def label_stack(labeller: Labeller, stack: Stack, positions: Sequence[int]) -> Iterator[Labelled]:
    """Slices of a stack, in order; a few are read and filtered while the network works."""
    network, _ = network_of(labeller)
    model, sources = labeller.models[0], sources_of(labeller.models)
    with ExitStack() as held:
        by_window = bool(model.areas) and model.filter_scope == "patch"
        window_filter = (
            held.enter_context(PatchFilter(list(model.areas), labeller.processes))
            if by_window
            else None
        )
        batch = labeller.batch_size
        for z, found in _prepared(labeller, stack, positions, list(sources)):
            if isinstance(found, FibsegError):
                yield Labelled(z, error=found)
                continue
            outside, seen, channels = found

            def step(count: int, channels: UInt8 = channels) -> tuple[UInt8, list[UInt8]]:
                arguments = (
                    network,
                    channels,
                    labeller.windows,
                    count,
                    labeller.device,
                    window_filter,
                )
                with autocast(labeller.device, labeller.precision):
                    if not labeller.layers:
                        return predict_slice(*arguments), []
                    return _with_layers(
                        predict_scores(*arguments), model.class_names, labeller.layers
                    )

            (labels, layers), batch = fitting(step, batch)
            shape = (stack.shape[1], stack.shape[2])
            if labels.shape != shape:
                labels, *layers = (nearest(one, *shape) for one in (labels, *layers))
            yield Labelled(z, labels, outside, seen, layers)


def network_of(labeller: Labeller) -> tuple[Network, int]:
    """All networks as one, on their device, and the channels that it takes."""
    sources = sources_of(labeller.models)
    members = [
        (model.network.to(labeller.device).eval(), sources[source_of(model)])
        for model in labeller.models
    ]
    by_window = any(model.areas and model.filter_scope == "patch" for model in labeller.models)
    channels = 1 + len(labeller.models[0].areas) if by_window else sum(map(len, sources.values()))
    plain = len(members) == 1 and not labeller.turned and not labeller.layers
    if not plain:
        return Ensemble(members, labeller.turned, "disagreement" in labeller.layers), channels
    network = members[0][0]
    return (
        probabilities(network) if labeller.windows.kind == "blend" else deciding(network)
    ), channels


def fitting(step: Callable[[int], _T], batch: int) -> tuple[_T, int]:
    """What a step gives, and the size of batch that the device's memory bears: halved until it does.

    Raises:
        torch.OutOfMemoryError: not even one window fits.
    """
    while True:
        try:
            return step(batch), batch
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2


def _with_layers(
    scores: NDArray[np.float32], names: Sequence[str], layers: Sequence[str]
) -> tuple[UInt8, list[UInt8]]:
    """Class indices, and the layers times 255, of (K or K + 1, H, W) scores."""
    places = {name: k for k, name in enumerate(names)} | {"disagreement": len(names)}
    found = [np.rint(255 * scores[places[name]].clip(0, 1)).astype(np.uint8) for name in layers]
    return scores[: len(names)].argmax(0).astype(np.uint8), found


Parts = list[UInt8 | Future[UInt8]]
Read = tuple[float, str, Parts] | FibsegError


def _prepared(
    labeller: Labeller, stack: Stack, positions: Sequence[int], sources: list[Source]
) -> Iterator[tuple[int, tuple[float, str, UInt8] | FibsegError]]:
    """Position, and share outside, digest, channels of every source (C, H, W); or why a slice cannot be read."""
    pools = {areas: PatchFilter(list(areas), labeller.processes) for _, areas in sources if areas}

    def read(z: int) -> Read:
        try:
            image = read_finite(stack, z)
        except FibsegError as error:
            return error
        parts: Parts = []
        for window, areas in sources:
            grey = resized(to_8bit(image, window), labeller.scale)
            parts.append(pools[areas].submit(grey[None]) if areas else grey[None])
        return sources[0][0].outside(image), pixel_digest(image), parts

    ahead = labeller.processes + READERS if pools else READERS
    with ExitStack() as held:
        for pool in pools.values():
            held.enter_context(pool)
        readers = held.enter_context(ThreadPoolExecutor(READERS))
        held.callback(lambda: readers.shutdown(cancel_futures=True))
        waiting: deque[tuple[int, Future[Read]]] = deque()
        for z in [*positions, *[-1] * ahead]:
            if z >= 0:
                waiting.append((z, readers.submit(read, z)))
            if waiting and (z < 0 or len(waiting) > ahead):
                first, future = waiting.popleft()
                found = future.result()
                if isinstance(found, FibsegError):
                    yield first, found
                    continue
                outside, seen, parts = found
                channels = [
                    channels_of(one)[0] if isinstance(one, Future) else one for one in parts
                ]
                yield first, (outside, seen, np.concatenate(channels))


def pixel_digest(image: NDArray[Any]) -> str:
    """16 hexadecimal digits of a slice's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def slice_digest(stack: Stack, z: int) -> str | None:
    """`pixel_digest` of a slice; None where it cannot be read."""
    try:
        return pixel_digest(stack.read(z))
    except FibsegError:
        return None


def resized(image: UInt8, scale: tuple[float, float]) -> UInt8:
    """(H, W) grey values at another pixel size: bilinear, averaged where it shrinks."""
    if scale == (1.0, 1.0):
        return image
    size = [max(1, round(side * factor)) for side, factor in zip(image.shape, scale, strict=True)]
    tensor = torch.from_numpy(image.astype(np.float32))[None, None]
    found = torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", antialias=True)
    return np.asarray(found[0, 0].round().clamp(0, 255).to(torch.uint8).numpy())


def nearest(labels: UInt8, height: int, width: int) -> UInt8:
    """Labels at another size: each pixel takes the one that its centre lies in."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[np.ix_(rows, columns)]


def identity(labeller: Labeller, stack: Stack, voxel_size: list[float] | None) -> dict[str, Any]:
    """What outputs depend on beside the pixels: one that tells another identity is not gone on with."""
    return {
        "models": [model_digest(model) for model in labeller.models],
        "windows": str(labeller.windows),
        "turned": labeller.turned,
        "precision": labeller.precision,
        "scale": list(labeller.scale),
        "layers": list(labeller.layers),
        "shape": list(stack.shape),
        "voxel_size": voxel_size,
    }


def model_digest(model: TrainedModel) -> str:
    """16 hexadecimal digits of weights, grey window, filter and label values."""
    seen = hashlib.sha256(
        repr(
            (model.window, list(model.areas), model.filter_scope, list(model.label_values))
        ).encode()
    )
    for name, weights in model.network.state_dict().items():
        seen.update(name.encode())
        seen.update(weights.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:16]
