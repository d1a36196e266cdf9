"""The voxel size of an image: who states it, the scale to that of the training, and resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from fibseg.arrays import UInt8
from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory, is_run
from fibseg.runs.identity import read_config
from fibseg.stack import Stack, located

_Number = TypeVar("_Number", bound=np.generic)

SAME_SIZE = 0.1
"""Share by which voxel sizes may differ and still count as the same."""


def known_voxel_size(
    config: PredictConfig, stack: Stack, checkpoints: Sequence[Path], console: Console
) -> list[float] | None:
    """Find the voxel size (z, y, x) of an image in nm, where anybody states it.

    The user's word comes first, then the file's, then that of the training's data description, if
    the image is one of its volumes. Nothing is concluded from the voxel size of the training: the
    same network may label a stack of another microscope.

    Args:
        config: of the prediction.
        stack: the image.
        checkpoints: files of the models.
        console: takes a line where the data description states it.
    """
    if config.voxel_size is not None:
        return config.voxel_size
    if stack.voxel_size is not None:
        return list(stack.voxel_size)
    for checkpoint in checkpoints:
        size = _described_size(checkpoint, config.image)
        if size is not None:
            console.print(
                f"voxel size {_written(size)} nm, as the data description of the training says of "
                "this image"
            )
            return size
    return None


def _described_size(checkpoint: Path, image: str) -> list[float] | None:
    """Read the voxel size of an image from the run of a model; None where it is no volume of it."""
    run = checkpoint.absolute().parent.parent
    if not is_run(run):
        return None
    try:
        config = read_config(RunDirectory(run))
    # The model is read without it.
    except FibsegError:
        return None
    root = _root_of_data(run, config or {})
    if root is None:
        return None
    for volume in (config or {})["data"].get("volumes", []):
        if _is_same_place(located(root, str(volume.get("image"))), image):
            return [float(size) for size in volume["voxel_size"]]
    return None


def _root_of_data(run: Path, config: dict[str, Any]) -> str | None:
    """Find the folder of a run's data; None where a relative one has lost its start.

    A relative root began at the folder in which the training was started. That one is known from
    the place of the run where `machine.runs` is relative, too.
    """
    root = str(config.get("data", {}).get("root", ""))
    if not root or "://" in root or Path(root).is_absolute():
        return root or None
    runs = Path(str(config.get("machine", {}).get("runs", "/")))
    # The run lies in START/runs/DATA/RUN.
    above = run.parents
    depth = len(runs.parts) + 1
    if runs.is_absolute() or len(above) <= depth or above[depth] / runs != above[1]:
        return None
    return str(above[depth] / root)


def _is_same_place(first: str, second: str) -> bool:
    """Whether two paths are those of one image; addresses are compared as they are written."""
    if "://" in first or "://" in second:
        return first == second
    # Links are followed, so that one file under two names is one image.
    return Path(first).resolve() == Path(second).resolve()


def _written(size: Sequence[float]) -> str:
    """Write a voxel size as it is typed.

    >>> _written([20.0, 4.5, 5]), _written([math.nan, 4.5, 5])
    ('[20,4.5,5]', '[?,4.5,5]')
    """
    return f"[{','.join('?' if math.isnan(side) else f'{side:g}' for side in size)}]"


def _listed(size: Sequence[float]) -> str:
    """Write a voxel size as a list of its numbers.

    >>> _listed([20, 4.5, 5]), _listed([math.nan, 4.5, 5])
    ('[20, 4.5, 5]', '[?, 4.5, 5]')
    """
    return f"[{', '.join('?' if math.isnan(side) else str(side) for side in size)}]"


def pixel_scale(
    voxel_size: list[float] | None,
    trained_sizes: Sequence[Sequence[float]],
    resample: bool,
    console: Console,
) -> tuple[float, float]:
    """Compute how much larger slices must be to show organelles at the size of the training.

    Args:
        voxel_size: (z, y, x) of the image in nm; None where it is unknown.
        trained_sizes: (z, y, x) of each training volume in nm; none where the model does not tell
            them. z is NaN for another program's, which sees no depth.
        resample: whether the user asked for slices of the training's pixel size.
        console: takes a warning where the sizes differ.

    Returns:
        Factors along rows and columns; 1 where slices stay as they are.

    Raises:
        FibsegError: `resample` without a known voxel size.
    """
    if not trained_sizes or voxel_size is None:
        _say_unknown(trained_sizes, resample, console)
        return 1.0, 1.0

    def distance(trained: Sequence[float]) -> list[float]:
        """Measure how far a training's voxels are from the image's, in the plane first."""
        # Logarithms, for which half and double are equally far.
        return [abs(math.log(voxel_size[k] / trained[k])) for k in (1, 2, 0)]

    nearest = min(trained_sizes, key=distance)
    ratios = [size / trained for size, trained in zip(voxel_size, nearest, strict=True)]
    # Headers are rounded.
    if max(abs(ratio - 1) for ratio in ratios if not math.isnan(ratio)) < SAME_SIZE:
        return 1.0, 1.0
    # Slices are enlarged and never resampled along z: the labels are of one slice at a time.
    scale = (ratios[1], ratios[2])
    differs_in_plane = max(abs(factor - 1) for factor in scale) >= SAME_SIZE
    if resample and differs_in_plane:
        change = (
            f"slices are shown to the network {scale[0]:.3g} times as high and "
            f"{scale[1]:.3g} times as wide"
        )
        console.print(f"voxels of {voxel_size} nm, training {_listed(nearest)} nm: {change}")
        return scale
    offer = "; resample=true brings them together." if differs_in_plane else "."
    sizes = f"[{', '.join(map(_listed, trained_sizes))}]"
    console.print(f"warning: voxels of {voxel_size} nm, but the training had {sizes} nm{offer}")
    return 1.0, 1.0


def _say_unknown(
    trained_sizes: Sequence[Sequence[float]], resample: bool, console: Console
) -> None:
    """Say whose voxel size is not known: that of the training, else that of the image.

    Raises:
        FibsegError: slices were to be resampled.
    """
    if not trained_sizes:
        if resample:
            raise FibsegError(
                "resample=true: the model does not tell the voxel size of its training."
            )
        console.print("the model does not tell the voxel size of its training; it was not compared")
        return
    if resample:
        raise FibsegError(
            "resample=true: the image does not tell its voxel size; give voxel_size=[z,y,x] in nm."
        )
    known = " and ".join(_written(size) for size in dict.fromkeys(map(tuple, trained_sizes)))
    console.print(
        "the image does not tell its voxel size; it was not compared "
        f"(voxel_size=[z,y,x] in nm tells it; the training had {known})"
    )


def resized(image: UInt8, scale: tuple[float, float]) -> UInt8:
    """Resize (H, W) grey values to another pixel size: bilinear, averaged where they shrink."""
    if scale == (1.0, 1.0):
        return image
    height, width = image.shape
    size = resized_size(height, width, scale)
    # (1, 1, H, W), as torch wants it.
    pixels = torch.from_numpy(image.astype(np.float32))[None, None]
    result = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return np.asarray(result[0, 0].round().clamp(0, 255).to(torch.uint8).numpy())


def resized_size(height: int, width: int, scale: tuple[float, float]) -> tuple[int, int]:
    """Compute the size (rows, columns) at which a slice is shown to the network."""
    rows, columns = (
        max(1, round(side * factor)) for side, factor in zip((height, width), scale, strict=True)
    )
    return rows, columns


def nearest(labels: NDArray[_Number], height: int, width: int) -> NDArray[_Number]:
    """Resize labels (H, W): each pixel takes the label that its centre lies in."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[np.ix_(rows, columns)]
