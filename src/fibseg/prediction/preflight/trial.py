"""A trial on a part of one slice: seconds, memory, and bytes that its labels take."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from fibseg.arrays import Pixels, UInt8
from fibseg.filters.grain import grain_filter
from fibseg.filters.patches import PatchFilter
from fibseg.filters.shapes import TREE_BYTES
from fibseg.machine import cores
from fibseg.prediction.ensemble import sources_of
from fibseg.prediction.intensity import in_8bit, tissue_outside
from fibseg.prediction.labeller import Decided, Labeller, decide_slice, network_of, objects_of
from fibseg.prediction.output.changes import READER_THREADS, slice_digest
from fibseg.prediction.output.outputs import Output, by_output
from fibseg.prediction.slices import WindowedNetwork, autocast, label_table, smallest_of
from fibseg.prediction.windows import Windows
from fibseg.scores.smallest import without_small
from fibseg.stack import Stack, StackHeader, StackWriter, read_finite
from fibseg.stack.output.ome import steps_of

TRIAL_SIDE = 1024
"""Side in pixels of the largest part of a slice that is tried, where it is not labelled whole."""

WINDOWS_SIDE = 512
"""Side of the part that is tried where windows are small: enough of them for whole batches."""

SMALL_SIDE = 256
"""Side of a part that prepares the trial."""

FILTER_SIDE = 2048
"""Side of the largest part that is filtered: a pixel takes longer in a larger slice."""

OBJECT_BYTES = 28
"""Bytes of memory a pixel that components, seeds and watersheds of a slice take."""

DISK_BLOCK = 4096
"""Bytes by which file systems hand out room."""

MOST_WAITING = 4
"""Slices with channels or scores that are in memory beside the one at work, without a filter."""


@dataclass(frozen=True)
class Needs:
    """What a prediction will take.

    Attributes:
        seconds: per slice.
        memory: bytes that it has at most, the threads that filter included.
        disk: bytes that a slice takes in each output.
    """

    seconds: float
    memory: float
    disk: list[float]


def tried(
    labeller: Labeller,
    stack: Stack,
    z: int,
    outputs: Sequence[Output],
    voxel_size: Sequence[float] | None,
) -> Needs:
    """Read slice z, and filter, label and write a part of it.

    Args:
        labeller: what labels a slice.
        stack: the image.
        z: position of the slice.
        outputs: that will be written.
        voxel_size: (z, y, x) in nm of the outputs, which decides on their resolutions.

    Raises:
        FibsegError: the slice cannot be read, or the disk for temporary files is full.
        OSError: there are no temporary files.
        RuntimeError: memory is short.
    """
    compute = labeller.compute
    on_gpu = compute.device.type == "cuda"
    start = perf_counter()
    image = read_finite(stack, z)
    slice_digest(image, [])
    tissue_outside(image, labeller.models[0].grey_range)
    grey = in_8bit([image], labeller.models[0].grey_range, labeller.scale)[0]
    read_seconds = perf_counter() - start
    channels, filter_seconds = _channels(labeller, grey)
    decided, network_seconds = _labelled(labeller, channels, (grey.shape[0], grey.shape[1]))
    labels = without_small(decided.labels, smallest_of(labeller.models))
    start = perf_counter()
    values = label_table(labeller.models[0].label_values)
    pages: list[Pixels] = [values[labels], *decided.layers]
    objects = objects_of(labeller, labels, decided.maps)
    if objects is not None:
        pages.append(objects)
    # A picture with channels takes as much as its channels take alone.
    sizes = [
        sum(
            _disk_bytes(output, page, stack.shape, voxel_size)
            for page in pixels.reshape(-1, *labels.shape)
        )
        for output, pixels in zip(outputs, by_output(outputs, pages), strict=True)
    ]
    share = image.size / labels.size
    write_seconds = (perf_counter() - start) * share
    # The threads that filter read, too.
    preparers = compute.filter_threads if filter_seconds else READER_THREADS
    prepare_seconds = read_seconds + filter_seconds
    beside = [prepare_seconds / preparers, write_seconds]
    others = prepare_seconds + write_seconds
    # What goes on side by side takes the time of the slowest, unless the cores are too few.
    work = others if on_gpu else others + network_seconds * torch.get_num_threads()
    seconds = max(network_seconds, *beside, work / cores())
    return Needs(seconds, _memory(labeller, grey.shape), [size * share for size in sizes])


def _middle(grey: UInt8, side: int) -> UInt8:
    """Cut the middle of an 8-bit slice (H, W), at most `side` pixels long."""
    top, left = (max(0, (length - side) // 2) for length in grey.shape)
    return np.ascontiguousarray(grey[top : top + side, left : left + side])


def _trial_side(labeller: Labeller, grey: UInt8) -> int:
    """Side of the part of a slice that is labelled in a trial."""
    windows = labeller.first_load.windows
    if windows.kind == "whole":
        return int(max(grey.shape))
    return WINDOWS_SIDE if windows.kind in ("paper", "blend") else TRIAL_SIDE


def _channels(labeller: Labeller, grey: UInt8) -> tuple[UInt8, float]:
    """Give the channels (C, h, w) of the middle of a slice; seconds to filter the whole slice."""
    side = _trial_side(labeller, grey)
    crop = _middle(grey, side)
    part = _middle(grey, FILTER_SIDE)
    parts: list[UInt8] = []
    filtered: dict[tuple[int, ...], UInt8] = {}
    seconds = 0.0
    for _, areas, context in sources_of(labeller.models):
        if areas and areas not in filtered:
            # The first call loads libraries.
            grain_filter(_middle(grey, SMALL_SIDE // 4), areas)
            start = perf_counter()
            maps = grain_filter(part, areas)
            seconds += (perf_counter() - start) * grey.size / part.size
            filtered[areas] = np.stack([np.resize(pixels, crop.shape) for pixels in maps])
        parts += [crop[None], *([filtered[areas]] if areas else [])]
        parts += [crop[None]] * (2 * context)
    return np.concatenate(parts), seconds


def _labelled(labeller: Labeller, channels: UInt8, shape: tuple[int, int]) -> tuple[Decided, float]:
    """Label the middle of a slice (C, h, w); gives seconds for a whole slice of `shape`, too."""
    network, _ = network_of(labeller)
    load = labeller.first_load
    model = labeller.models[0]
    compute = replace(labeller.compute, batch_size=load.batch_size)
    with ExitStack() as resources:
        patch_filter = None
        if model.channels.by_patch:
            patch_filter = PatchFilter(model.channels.areas, compute.filter_threads)
            resources.enter_context(patch_filter)
        windowed = WindowedNetwork(network, load.windows, compute, patch_filter)
        resources.enter_context(autocast(compute))
        small = np.ascontiguousarray(channels[:, :SMALL_SIDE, :SMALL_SIDE])
        # A small part first: it chooses kernels, and starts what filters windows.
        decide_slice(labeller, windowed, small, measured=False)
        start = perf_counter()
        decided = decide_slice(labeller, windowed, channels, measured=False)
        seconds = perf_counter() - start
    part = _window_pixels(load.windows, channels.shape[1], channels.shape[2])
    return decided, seconds * _window_pixels(load.windows, *shape) / part


def _window_pixels(windows: Windows, height: int, width: int) -> int:
    """Count the pixels of all windows of a slice."""
    batches = windows.batches(height, width, None)
    return sum(rows * columns * count for (rows, columns), count in batches.items())


def _disk_bytes(
    output: Output,
    pixels: Pixels,
    shape: tuple[int, int, int],
    voxel_size: Sequence[float] | None,
) -> float:
    """Write a slice (h, w) as in an output of this shape, and measure its files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"slice{output.path.suffix}"
        header = StackHeader((1, *pixels.shape), output.dtype, voxel_size)
        with StackWriter(path, header) as writer:
            writer.write(pixels.astype(output.dtype))
        if path.is_file():
            return path.stat().st_size
        size = 0.0
        # Coarser resolutions leave slices out.
        for level, (step, _, _) in enumerate(steps_of(replace(header, shape=shape))):
            chunks = path.glob(f"{level}/0/*/*")
            size += sum(-(-chunk.stat().st_size // DISK_BLOCK) for chunk in chunks) / step
        return DISK_BLOCK * size


def _memory(labeller: Labeller, shape: tuple[int, ...]) -> float:
    """Give the bytes that a prediction of slices (H, W) has at most, after a trial of it."""
    pixels = int(np.prod(shape))
    sources = sources_of(labeller.models)
    channels = sum(len(positions) for positions in sources.values())
    if labeller.compute.device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(labeller.compute.device))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    memory = float(peak[1]) * 1024 if peak else 0.0
    threads = labeller.compute.filter_threads
    has_filter = any(areas for _, areas, _ in sources)
    waiting = threads + READER_THREADS + 1 if has_filter else MOST_WAITING
    memory += waiting * channels * pixels
    if labeller.objects is not None:
        memory += OBJECT_BYTES * pixels
    if labeller.layers or labeller.windows.kind == "blend" or labeller.has_maps:
        # Scores of all classes of a slice, and their copy.
        memory += 8 * len(labeller.models[0].class_names) * pixels
    if has_filter:
        memory += threads * TREE_BYTES * pixels
    return memory
