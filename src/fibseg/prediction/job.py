"""One prediction as a user asks for it: which models, at which scale, into which files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.machine import Compute, choose_device, cores, set_threads
from fibseg.models.trained import TrainedModel, load_model
from fibseg.prediction.ensemble import common_precision, common_windows
from fibseg.prediction.stack import DISAGREEMENT, Labeller, labeller_identity, slice_digest
from fibseg.prediction.staging import Output, Staging, same_image
from fibseg.prediction.whole_cell import Shard, label_stack_into, label_table
from fibseg.rules import file_name_part
from fibseg.runs.collection import collect, configurations
from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run
from fibseg.stack import Stack, check_output, open_stack, read_notes

SAME_SIZE = 0.1
"""Share by which voxel sizes may differ and still count as the same."""


def predict_stack(config: PredictConfig, console: Console) -> None:
    """Label the slices that are not labelled yet, write the outputs, and say what to doubt.

    Raises:
        FibsegError: a model, the image or an output cannot be used.
    """
    stack = open_stack(config.image)
    labeller, voxel_size = make_labeller(config, stack, console)
    outputs = outputs_of(config, labeller)
    identity = labeller_identity(labeller, stack, voxel_size)
    notes = [_notes_of(output.path) for output in outputs]
    if not config.overwrite and all(is_finished(written, identity, stack) for written in notes):
        console.print(f"{outputs[0].path}: finished already, by the same model on the same image")
        return
    for number, (output, written) in enumerate(zip(outputs, notes, strict=True)):
        # A kill between two files leaves a later one that is whole and of this prediction.
        resumed = number > 0 and written.get("identity") == identity
        check_output(output.path, config.overwrite or resumed)
    # Kept in each file, so that the same command knows a finished output.
    outputs = [replace(output, notes=output.notes | {"identity": identity}) for output in outputs]
    label_stack_into(
        staging=Staging(outputs, stack.shape, voxel_size),
        labeller=labeller,
        stack=stack,
        identity=identity,
        shard=Shard(config.shard, config.shards),
        skip_unreadable=config.skip_unreadable,
        console=console,
    )


def _notes_of(path: Path) -> dict[str, Any]:
    """Read the notes of an output that exists; none otherwise."""
    return (read_notes(path) or {}) if path.exists() else {}


def is_finished(notes: dict[str, Any], identity: dict[str, Any], stack: Stack) -> bool:
    """Whether an output is that of the same model on the same image, with every slice read."""
    # Slices that could not be read are 0 in the output: they are tried again.
    if notes.get("identity") != identity or notes.get("zeroed"):
        return False
    # JSON has texts as keys.
    digests = {int(z): digest for z, digest in notes["pixels"].items()}
    return same_image(digests, lambda z: slice_digest(stack, z))


def make_labeller(
    config: PredictConfig, stack: Stack, console: Console
) -> tuple[Labeller, list[float] | None]:
    """Make the labeller of the slices; gives the stack's voxel size (z, y, x) in nm, too."""
    models = [load_model(path) for path in find_checkpoints(config, console)]
    voxel_size = config.voxel_size or (list(stack.voxel_size) if stack.voxel_size else None)
    scale = pixel_scale(voxel_size, models[0].voxel_sizes, config.resample, console)
    set_threads(config.threads)
    _, height, width = stack.shape
    precision = common_precision(models) if config.precision == "auto" else config.precision
    compute = Compute(
        device=choose_device(config.device),
        precision=precision,
        batch_size=config.window_batch,
        processes=config.processes or config.threads or cores(),
    )
    layers = list(models[0].class_names) if config.probabilities else []
    if config.disagreement:
        layers.append(DISAGREEMENT)
    labeller = Labeller(
        models=models,
        windows=common_windows(models, config.windows, config.tile, height * width),
        compute=compute,
        scale=scale,
        turned=config.tta == "d4",
        layers=layers,
    )
    console.print(job_summary(labeller, stack, config))
    return labeller, voxel_size


def job_summary(labeller: Labeller, stack: Stack, config: PredictConfig) -> str:
    """Describe in one line what will be done."""
    depth, height, width = stack.shape
    slice_bytes = height * width * stack.dtype.itemsize
    memory = (
        f"{depth * slice_bytes / 1e9:.3g} GB, of which a few slices of {slice_bytes / 1e6:.3g} MB "
        "are in memory at once"
    )
    count = len(labeller.models)
    models = f"{count} models, " if count > 1 else ""
    loss = ""
    chosen = labeller.models[0].windows
    if chosen and count == 1 and config.windows == "auto":
        loss = f", which lost {chosen['loss']:.3f} F1 on validation slices"
    compute = labeller.compute
    return (
        f"{stack.name}: {depth} slices of {height} x {width}, {stack.dtype}, {memory}; "
        f"{models}windows {labeller.windows}{loss}; {compute.device.type}, "
        f"precision {compute.precision}"
    )


def find_checkpoints(config: PredictConfig, console: Console) -> list[Path]:
    """Find the model of a run, or those of the best runs of a folder by validation F1.

    Raises:
        FibsegError: there is no such run, configuration or model.
    """
    path = Path(config.checkpoint)
    if not path.is_dir() or is_run(path) or RunDirectory(path).model() is not None:
        return [find_checkpoint(path)]
    # A folder of runs: the best of them by validation F1 are averaged.
    collection = collect([path])
    for left_out, reason in collection.left_out:
        console.print(f"left out: {left_out}: {reason}")
    groups = configurations(collection.runs)
    runs = collection.runs
    if config.configuration is not None:
        if config.configuration not in groups:
            known = ", ".join(groups) or "no finished runs"
            raise FibsegError(f"configuration={config.configuration}: there are {known}.")
        runs = groups[config.configuration]
    with_model = []
    for run in runs:
        if RunDirectory(run.path).model() is None:
            console.print(f"left out: {run.path}: it keeps no model")
        else:
            with_model.append(run)
    # By name where F1 is equal, so that the order of folders chooses nothing.
    best = sorted(with_model, key=lambda run: (-run.validation_sum, run.path.name))[: config.best]
    if not best:
        raise FibsegError(f"{path}: no finished run in it.")
    names = ", ".join(run.path.name for run in best)
    console.print(f"the mean of {len(best)} of {len(with_model)} runs: {names}")
    return [find_checkpoint(run.path) for run in best]


def outputs_of(config: PredictConfig, labeller: Labeller) -> list[Output]:
    """List the files to write: labels, then layers; probabilities have the class in their names.

    Raises:
        FibsegError: two of them are one file.
    """
    model: TrainedModel = labeller.models[0]
    # The values of the training's label files, so that a prediction reads like an annotation.
    values = label_table(model.label_values)
    pairs = zip(values.tolist(), model.class_names, strict=True)
    classes = {str(value): name for value, name in pairs}
    # Labels depend on how slices were cut, so the file says it, and what that cost.
    notes = {"windows": str(labeller.windows), "measured": model.windows}
    outputs = [Output(Path(config.output), str(values.dtype), notes | {"classes": classes})]
    for name in labeller.layers:
        if name == DISAGREEMENT:
            path = Path(config.disagreement or "")
        else:
            template = Path(config.probabilities or "")
            path = template.with_stem(f"{template.stem}-{file_name_part(name)}")
        outputs.append(Output(path, "uint8", notes | {"holds": name, "times": 255}))
    paths = [output.path.absolute() for output in outputs]
    if len(set(paths)) < len(paths):
        raise FibsegError(
            "output, probabilities and disagreement: two of them are one file; "
            "give each its own name."
        )
    return outputs


def pixel_scale(
    voxel_size: list[float] | None,
    trained_sizes: Sequence[Sequence[float]],
    resample: bool,
    console: Console,
) -> tuple[float, float]:
    """Compute how much larger slices must be to show organelles at the size of the training.

    Args:
        voxel_size: (z, y, x) of the image in nm; None where it is unknown.
        trained_sizes: (z, y, x) of each training volume in nm.
        resample: whether the user asked for slices of the training's pixel size.
        console: takes a warning where the sizes differ.

    Returns:
        Factors along rows and columns; 1 where slices stay as they are.

    Raises:
        FibsegError: `resample` without a known voxel size.
    """
    if voxel_size is None:
        if resample:
            raise FibsegError(
                "resample=true: the image does not tell its voxel size; "
                "give voxel_size=[z,y,x] in nm."
            )
        console.print(
            "the image does not tell its voxel size; it was not compared "
            "(voxel_size=[z,y,x] in nm tells it)"
        )
        return 1.0, 1.0

    def distance(trained: Sequence[float]) -> list[float]:
        """Measure how far a training's voxels are from the image's, in the plane first."""
        # Logarithms, for which half and double are equally far.
        return [abs(math.log(voxel_size[k] / trained[k])) for k in (1, 2, 0)]

    nearest = min(trained_sizes, key=distance)
    ratios = [size / trained for size, trained in zip(voxel_size, nearest, strict=True)]
    # Headers are rounded.
    if max(abs(ratio - 1) for ratio in ratios) < SAME_SIZE:
        return 1.0, 1.0
    # Slices are enlarged and never resampled along z: a network sees one slice at a time.
    scale = (ratios[1], ratios[2])
    differs_in_plane = max(abs(factor - 1) for factor in scale) >= SAME_SIZE
    if resample and differs_in_plane:
        change = (
            f"slices are shown to the network {scale[0]:.3g} times as high and "
            f"{scale[1]:.3g} times as wide"
        )
        console.print(f"voxels of {voxel_size} nm, training {list(nearest)} nm: {change}")
        return scale
    offer = "; resample=true brings them together." if differs_in_plane else "."
    sizes = [list(size) for size in trained_sizes]
    console.print(f"warning: voxels of {voxel_size} nm, but the training had {sizes} nm{offer}")
    return 1.0, 1.0
