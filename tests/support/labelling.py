"""A small random image, a labeller of it on the CPU, and predictions of it into a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from fibseg.errors import FibsegError
from fibseg.machine import Compute
from fibseg.models.trained import TrainedModel
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.whole_cell import label_and_keep, label_stack_into
from fibseg.prediction.windows import windows_of
from fibseg.stack import Stack

CPU = Compute(device=torch.device("cpu"), precision="32", batch_size=4, filter_threads=1)
"""One core, 32 bits, four windows in a batch."""

IMAGE_SHAPE = (12, 70, 90)


def random_image(shape: tuple[int, int, int] = IMAGE_SHAPE) -> np.ndarray:
    """Grey values (Z, H, W) without any structure."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def stack_of(pixels: np.ndarray, broken: tuple[int, ...] = ()) -> Stack:
    """A stack in memory, some of whose slices cannot be read."""

    def read(z: int) -> np.ndarray:
        if z in broken:
            raise FibsegError(f"here, slice {z}: damaged.")
        return np.asarray(pixels[z])

    return Stack("here", pixels.shape, pixels.dtype, read)


def labeller(*models: TrainedModel, compute: Compute = CPU, **changes: Any) -> Labeller:
    """What labels slices on the CPU by these models: whole ones, where the model bears that."""
    windows = windows_of(models[0], "paper" if models[0].channels.by_patch else "whole")
    return replace(Labeller(models=list(models), windows=windows, compute=compute), **changes)


def staged(path: Path, ome_zarr: str = "0.4") -> Staging:
    """A staging folder of labels of `random_image`."""
    output = Output(path, "uint8", {"classes": {"0": "background"}}, ome_zarr=ome_zarr)
    return Staging([output], IMAGE_SHAPE, [20.0, 5.0, 5.0])


def label_into(
    staging: Staging,
    labeller: Labeller,
    stack: Stack,
    skip_unreadable: bool = False,
    restored: Mapping[int, KeptSlice] | None = None,
) -> bool:
    """Label the slices that are free, and say nothing of it; whether the output is there then."""
    return label_stack_into(
        staging=staging,
        labeller=labeller,
        stack=stack,
        identity={"made": "here"},
        skip_unreadable=skip_unreadable,
        console=Console(quiet=True),
        restored=restored,
    )


def keep_some(path: Path, labeller: Labeller, stack: Stack, positions: Iterable[int]) -> None:
    """Label and keep a part of the slices, as a process does that is killed then."""
    staging = staged(path)
    with StackSession(staging.folder):
        staging.begin({"made": "here"})
        kept = label_and_keep(labeller=labeller, stack=stack, positions=positions, staging=staging)
        assert all(labelled.error is None for labelled in kept)


def files_of(path: Path) -> dict[str, bytes]:
    """Bytes of a file, or of every file in a store, in one of which stands the store's name."""
    if path.is_file():
        return {"": path.read_bytes()}
    files = [file for file in path.rglob("*") if file.is_file()]
    content = {str(file.relative_to(path)): file.read_bytes() for file in files}
    metadata = ".zattrs" if ".zattrs" in content else "zarr.json"
    content[metadata] = content[metadata].replace(f'"{path.stem}"'.encode(), b'"name"')
    return content
