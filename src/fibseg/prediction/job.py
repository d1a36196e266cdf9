"""One command of a prediction: which models, at which scale, into which files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    from rich.console import Console

    from fibseg.prediction.stack import Labeller
    from fibseg.prediction.staging import Output
    from fibseg.stack import Stack


SAME_SIZE = 0.1
"""Voxel sizes that differ by a smaller share are the same."""


def is_finished(notes: dict[str, Any], told: dict[str, Any], stack: Stack) -> bool:
    """Whether an output is that of the same model on the same image, and every slice of it was read."""
    from fibseg.prediction.stack import slice_digest
    from fibseg.prediction.staging import same_image

    if notes.get("identity") != told or notes.get("zeroed"):
        return False
    return same_image(
        {int(z): one for z, one in notes["pixels"].items()}, lambda z: slice_digest(stack, z)
    )


def make_labeller(
    config: PredictConfig, stack: Stack, console: Console
) -> tuple[Labeller, list[float] | None]:
    """What labels the slices, and the voxel size of the stack."""
    from fibseg.machine import choose_device, cores, set_threads
    from fibseg.models.trained import load_model
    from fibseg.prediction.ensemble import common_precision, common_windows
    from fibseg.prediction.stack import Labeller

    models = [load_model(path) for path in find_checkpoints(config, console)]
    model = models[0]
    voxel_size = config.voxel_size or (list(stack.voxel_size) if stack.voxel_size else None)
    scale = pixel_scale(voxel_size, model.voxel_sizes, config.resample, console)
    set_threads(config.threads)
    windows = common_windows(models, config.windows, config.tile, stack.shape[1] * stack.shape[2])
    names = list(model.class_names)
    layers = [
        *(names if config.probabilities else []),
        *(["disagreement"] if config.disagreement else []),
    ]
    labeller = Labeller(
        models,
        windows,
        choose_device(config.device),
        common_precision(models) if config.precision == "auto" else config.precision,
        config.window_batch,
        config.processes or config.threads or cores(),
        scale,
        config.tta == "d4",
        layers,
    )
    console.print(job_summary(labeller, stack, config))
    return labeller, voxel_size


def job_summary(labeller: Labeller, stack: Stack, config: PredictConfig) -> str:
    """What will be done, in a line."""
    depth, height, width = stack.shape
    found = labeller.models[0].windows
    alone = config.windows == "auto" and len(labeller.models) == 1
    loss = f", which lost {found['loss']:.3f} F1 on validation slices" if found and alone else ""
    size, slice_mb = (
        depth * height * width * stack.dtype.itemsize / 1e9,
        height * width * stack.dtype.itemsize / 1e6,
    )
    ahead = f"{size:.3g} GB, of which a few slices of {slice_mb:.3g} MB are in memory at once"
    many = f"{len(labeller.models)} models, " if len(labeller.models) > 1 else ""
    return (
        f"{stack.name}: {depth} slices of {height} x {width}, {stack.dtype}, {ahead}; "
        f"{many}windows {labeller.windows}{loss}; {labeller.device.type}, precision {labeller.precision}"
    )


def find_checkpoints(config: PredictConfig, console: Console) -> list[Path]:
    """Of one run, or of the best runs of a folder by the sum of their validation F1."""
    from fibseg.runs.collection import collect, configurations
    from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run

    path = Path(config.checkpoint)
    if not path.is_dir() or is_run(path) or RunDirectory(path).model() is not None:
        return [find_checkpoint(path)]
    found = collect([path])
    for left, why in found.left_out:
        console.print(f"left out: {left}: {why}")
    groups = configurations(found.runs)
    if config.configuration is not None and config.configuration not in groups:
        raise FibsegError(
            f"configuration={config.configuration}: there are {', '.join(groups) or 'no finished runs'}."
        )
    runs = found.runs if config.configuration is None else groups[config.configuration]
    for run in runs:
        if RunDirectory(run.path).model() is None:
            console.print(f"left out: {run.path}: it keeps no model")
    runs = [run for run in runs if RunDirectory(run.path).model() is not None]
    best = sorted(runs, key=lambda run: (-run.validation_sum, run.path.name))[: config.best]
    if not best:
        raise FibsegError(f"{path}: no finished run in it.")
    console.print(
        f"the mean of {len(best)} of {len(runs)} runs: {', '.join(run.path.name for run in best)}"
    )
    return [find_checkpoint(run.path) for run in best]


def outputs_of(config: PredictConfig, labeller: Labeller) -> list[Output]:
    """Labels, then layers: probabilities with the class in their names."""
    import numpy as np

    from fibseg.prediction.staging import Output
    from fibseg.prediction.whole_cell import label_table

    model = labeller.models[0]
    values = label_table(model.label_values)
    classes = {
        str(value): name for value, name in zip(values.tolist(), model.class_names, strict=True)
    }
    notes = {"windows": str(labeller.windows), "measured": model.windows}
    found = [Output(Path(config.output), str(values.dtype), notes | {"classes": classes})]
    for name in labeller.layers:
        given = Path(
            (config.disagreement if name == "disagreement" else config.probabilities) or ""
        )
        path = given if name == "disagreement" else given.with_stem(f"{given.stem}-{name}")
        found.append(Output(path, str(np.dtype(np.uint8)), notes | {"holds": name, "times": 255}))
    paths = [one.path.absolute() for one in found]
    if len(set(paths)) < len(paths):
        raise FibsegError(
            "output, probabilities and disagreement: two of them are one file; give each its own name."
        )
    return found


def pixel_scale(
    ours: list[float] | None, trained: Sequence[Sequence[float]], resample: bool, console: Console
) -> tuple[float, float]:
    """How much larger slices must be shown to a network that knows organelles at the size it saw them."""
    if ours is None:
        if resample:
            raise FibsegError(
                "resample=true: the image does not tell its voxel size; give voxel_size=[z,y,x] in nm."
            )
        console.print(
            "the image does not tell its voxel size; it was not compared (voxel_size=[z,y,x] in nm tells it)"
        )
        return 1.0, 1.0
    nearest = min(trained, key=lambda size: [abs(math.log(ours[k] / size[k])) for k in (1, 2, 0)])
    if max(abs(a / b - 1) for a, b in zip(ours, nearest, strict=True)) < SAME_SIZE:
        return 1.0, 1.0
    scale = ours[1] / nearest[1], ours[2] / nearest[2]
    if resample and max(abs(one - 1) for one in scale) >= SAME_SIZE:
        told = f"slices are shown to the network {scale[0]:.3g} times as high and {scale[1]:.3g} times as wide"
        console.print(f"voxels of {ours} nm, training {list(nearest)} nm: {told}", highlight=False)
        return scale
    sizes = list(map(list, trained))
    in_plane = max(abs(one - 1) for one in scale) >= SAME_SIZE
    offer = "; resample=true brings them together." if in_plane else "."
    console.print(
        f"warning: voxels of {ours} nm, but the training had {sizes} nm{offer}", highlight=False
    )
    return 1.0, 1.0
