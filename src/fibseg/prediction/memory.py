"""Memory that is too short for a slice: smaller batches, then tiles that give the same labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from fibseg.errors import FibsegError
from fibseg.machine import free_memory
from fibseg.models.trained import TrainedModel
from fibseg.prediction.windows import LARGE_TILE, SMALL_TILE, Windows

_T = TypeVar("_T")

_TILE_SIDES = (LARGE_TILE, SMALL_TILE, SMALL_TILE // 2, SMALL_TILE // 4)
"""Sides of tiles that are tried one after the other; below them a tile is nearly all halo."""

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "_ALLOC_FAILED", "out of memory")
"""What torch's libraries say where they raise a RuntimeError in place of an OutOfMemoryError."""


@dataclass(frozen=True)
class Load:
    """How much of a slice a network sees at once.

    Attributes:
        windows: how the slice is cut.
        batch_size: as in `Windows.at_once`.
    """

    windows: Windows
    batch_size: int


def has_exact_tiles(models: Sequence[TrainedModel]) -> bool:
    """Whether tiles give the labels of the whole slice, for all models."""
    return all(model.kind.exact_tiles and not model.channels.by_patch for model in models)


def lighter(load: Load, height: int, width: int, exact_tiles: bool) -> Load | None:
    """Give the next load for a slice of this size that needs less memory; None without any.

    Batches are halved first; whole slices and tiles then become smaller tiles, where these give the
    same labels.
    """
    windows = load.windows
    count = load.batch_size
    most = _most_pixels(load, height, width)
    while count > 1:
        count //= 2
        # A batch of the same pixels would run out of memory just the same.
        if _most_pixels(Load(windows, count), height, width) < most:
            return Load(windows, count)
    if not exact_tiles or windows.kind not in ("whole", "tiles"):
        return None
    for side in _TILE_SIDES:
        # One tile at once: a batch of small ones may be as large as a larger one.
        tiles = Load(replace(windows, kind="tiles", size=side), 1)
        if _most_pixels(tiles, height, width) < most:
            return tiles
    return None


def lighter_loads(
    device: torch.device, exact_tiles: bool, shape: tuple[int, ...], say: Callable[[str], None]
) -> Callable[[Load], Load | None]:
    """Give `lighter` for a slice (C, H, W), which also says where it makes windows smaller."""

    def next_load(load: Load) -> Load | None:
        lightened = lighter(load, shape[1], shape[2], exact_tiles)
        if lightened is not None and lightened.windows != load.windows:
            say(
                f"{device}: too little memory for windows {load.windows}; from here on "
                f"{lightened.windows}, which give the same labels"
            )
        return lightened

    return next_load


def _most_pixels(load: Load, height: int, width: int) -> int:
    """Count the pixels of the largest batch, by which memory grows."""
    batches = load.windows.batches(height, width, load.batch_size)
    return max(rows * columns * count for (rows, columns), count in batches.items())


def memory_advice(windows: Windows, models: Sequence[TrainedModel]) -> str:
    """Say what to do where memory is short."""
    if windows.kind not in ("whole", "tiles"):
        return "one window at a time is too much for it"
    if has_exact_tiles(models):
        return "not even small tiles fit; end other programs there, or take another device"
    return "take windows=tiles tile=512"


def memory_of(device: torch.device) -> int:
    """Count the bytes that are free on a device, for a CPU those of the host."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_memory()


def fitting(
    step: Callable[[Load], _T], load: Load, next_load: Callable[[Load], Load | None]
) -> tuple[_T, Load]:
    """Run a step with a load that the device's memory bears: made lighter until it does.

    Raises:
        torch.OutOfMemoryError: the lightest load does not fit.
    """
    while True:
        try:
            return step(load), load
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_memory_error(error):
                raise
            lightened = next_load(load)
            if lightened is None:
                raise torch.OutOfMemoryError(str(error)) from error
            load = lightened


def is_memory_error(error: Exception) -> bool:
    """Whether an error says that memory is short; on a CPU torch has no type of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in _MEMORY_WORDS)


@contextmanager
def memory_errors_as_sentences(
    device: torch.device, windows: Windows, models: Sequence[TrainedModel]
) -> Iterator[None]:
    """Turn a machine or a device that runs out of memory into one sentence.

    Args:
        device: that labels.
        windows: by which slices are cut.
        models: that label.

    Raises:
        FibsegError: there was too little memory in the block.
    """
    try:
        yield
    except MemoryError as error:
        raise FibsegError(
            "too little memory to read and filter slices; take fewer at a time (processes). "
            "Finished slices are kept."
        ) from error
    except torch.OutOfMemoryError as error:
        raise FibsegError(
            f"{device}: too little memory for windows={windows}; "
            f"{memory_advice(windows, models)}. Finished slices are kept."
        ) from error
