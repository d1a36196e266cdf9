"""One prediction as a user asks for it: which models, at which scale, into which files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.machine import Compute, choose_device, cores, print_warnings, set_threads
from fibseg.models.foreign.opening import open_model
from fibseg.models.trained import TrainedModel
from fibseg.prediction.adaptation import Adaptation, adapted
from fibseg.prediction.ensemble import common_precision, common_windows
from fibseg.prediction.instances import common_rules
from fibseg.prediction.labeller import DISAGREEMENT, Labeller
from fibseg.prediction.output.changes import (
    brief_list,
    compare_slices,
    differences,
    labeller_identity,
    notes_of,
    refuse_place_of_image,
    report_changes,
)
from fibseg.prediction.output.listing import outputs_of
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.preflight.report import job_summary
from fibseg.prediction.voxels import known_voxel_size, pixel_scale, resized_size
from fibseg.prediction.whole_cell import label_stack_into
from fibseg.runs.collection import collect, configurations
from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run
from fibseg.stack import Stack, check_depth, check_output, open_stack


def predict_stack(config: PredictConfig, console: Console, memory_share: float = 1.0) -> bool:
    """Label the slices that are not labelled yet, write the outputs, and say what to doubt.

    Several processes may do so with one output, each with slices of its own.

    Args:
        config: of the prediction.
        console: takes what there is to say.
        memory_share: share of the machine's memory that this process may plan with.

    Returns:
        Whether the outputs are there; False where other processes still label the rest.

    Raises:
        FibsegError: a model, the image or an output cannot be used.
    """
    stack = open_stack(config.image)
    print_warnings(console, stack.doubts)
    labeller, adaptation, voxel_size = make_labeller(config, stack, console, memory_share)
    outputs = outputs_of(config, labeller, adaptation)
    for output in outputs:
        refuse_place_of_image(output.path, config.image)
    identity = labeller_identity(
        labeller=labeller,
        stack=stack,
        voxel_size=voxel_size,
        intensity=adaptation.intensity,
        originals=adaptation.originals,
        sampled=adaptation.sampled,
    )
    if config.zarr != "0.4":
        identity["zarr"] = config.zarr
    # Kept in each file, so that the same command knows a finished output.
    outputs = [replace(output, notes=output.notes | {"identity": identity}) for output in outputs]
    # Before the outputs are looked at: it notices where another process finishes them meanwhile.
    staging = Staging(outputs, stack.shape, voxel_size)
    digests = {} if config.overwrite else finished_digests(outputs, identity, stack)
    restored = unchanged_slices(
        digests=digests, labeller=labeller, stack=stack, path=outputs[0].path, console=console
    )
    if digests and restored is None:
        staging.remove_left(identity)
        return True
    for number, output in enumerate(outputs):
        # A kill between two files leaves a later one that is whole and of this prediction.
        resumed = number > 0 and notes_of(output.path).get("identity") == identity
        check_output(output.path, config.overwrite or resumed or bool(restored))
    return label_stack_into(
        staging=staging,
        labeller=labeller,
        stack=stack,
        identity=identity,
        skip_unreadable=config.skip_unreadable,
        console=console,
        # The objects of a slice cannot be had from those of the stack.
        restored=None if labeller.objects is not None else restored,
    )


def finished_digests(
    outputs: Sequence[Output], identity: dict[str, Any], stack: Stack
) -> dict[int, str]:
    """Read the digests of the slices that finished outputs were made of; "" where a slice is 0.

    Outputs of an older version hold the first, middle and last one. There are none where an output
    is missing, or was made by another model or setting.
    """
    notes = [notes_of(output.path) for output in outputs]
    if any(differences(written.get("identity") or {}, identity) for written in notes):
        return {}
    # JSON has texts as keys.
    pixels = [{int(z): digest for z, digest in written["pixels"].items()} for written in notes]
    depth = stack.shape[0]
    is_old = len(pixels[0]) + len(notes[0]["zeroed"]) < depth
    positions = sorted(pixels[0]) if is_old else range(depth)
    # After a kill between two files one of them is older, and its slices are made again.
    return {
        z: pixels[0].get(z, "") if all(of.get(z) == pixels[0].get(z) for of in pixels) else ""
        for z in positions
    }


def unchanged_slices(
    digests: dict[int, str], labeller: Labeller, stack: Stack, path: Path, console: Console
) -> dict[int, KeptSlice] | None:
    """Find the slices of a finished output that need not be labelled again.

    Args:
        digests: of `finished_digests`.
        labeller: what labels a slice.
        stack: the image.
        path: of the output, for messages.
        console: takes what there is to say.

    Returns:
        What is known of these slices; None where nothing is left to do, {} where the output is not
        of this image.

    Raises:
        FibsegError: nothing is left to do but slices that still cannot be read.
    """
    if not digests:
        return {}
    console.print(f"{path}: is finished; {len(digests)} slices are compared with the image")
    grey_range = labeller.models[0].grey_range
    changes = compare_slices(digests, stack, grey_range, labeller.context)
    is_old = len(digests) < stack.shape[0]
    if changes.other_image or (is_old and changes.changed):
        return {}
    report_changes(changes, console)
    unread = [z for z in changes.unreadable if not digests[z]]
    if changes.changed:
        kept = {z: KeptSlice(outside, digests[z], False) for z, outside in changes.same.items()}
        return kept | {z: KeptSlice(0.0, digests[z], z in unread) for z in changes.unreadable}
    if unread:
        raise FibsegError(
            f"{path}: finished, but slices {brief_list(unread)} still cannot be read; "
            "they are 0 in it."
        )
    partly = " (an older version kept the digests of these alone)" if is_old else ""
    console.print(f"{path}: finished already, by the same model on the same image{partly}")
    return None


def make_labeller(
    config: PredictConfig, stack: Stack, console: Console, memory_share: float = 1.0
) -> tuple[Labeller, Adaptation, list[float] | None]:
    """Make the labeller of the slices; gives its adaptation and the stack's voxel size, too."""
    # First: other libraries than torch take the number of threads when they open a model.
    set_threads(config.threads)
    checkpoints = find_checkpoints(config, console)
    models = [open_model(path) for path in checkpoints]
    print_warnings(console, [note for model in models for note in model.notes])
    check_depth(stack, max(model.channels.context for model in models))
    voxel_size = known_voxel_size(config, stack, checkpoints, console)
    scale = pixel_scale(voxel_size, models[0].voxel_sizes, config.resample, console)
    compute = _compute(config, models, memory_share)
    # Before anything is labelled: a stack in another scale of grey values is refused.
    try:
        models, adaptation = adapted(
            models=models,
            adapt=config.adapt,
            intensity=config.intensity,
            stack=stack,
            scale=scale,
            compute=compute,
            console=console,
        )
    except torch.OutOfMemoryError as error:
        raise FibsegError(
            f"adapt={config.adapt}: {compute.device} has too little memory to measure whole "
            "slices; expected none or grey."
        ) from error
    layers = list(models[0].class_names) if config.probabilities else []
    layers += [DISAGREEMENT] if config.disagreement else []
    # What the network sees of a slice, which a scale of 2 makes four times as large.
    network_pixels = math.prod(resized_size(*stack.shape[1:], scale))
    labeller = Labeller(
        models=models,
        windows=common_windows(models, config.windows, config.tile, network_pixels),
        compute=compute,
        scale=scale,
        turned=config.tta == "d4",
        layers=layers,
        objects=None if config.instances is None else common_rules(models).scaled(scale),
    )
    console.print(job_summary(labeller, stack, config))
    return labeller, adaptation, voxel_size


def _compute(config: PredictConfig, models: Sequence[TrainedModel], memory_share: float) -> Compute:
    """Choose the device, the precision and the threads of the labelling."""
    device = choose_device(config.device)
    is_auto = config.precision == "auto"
    return Compute(
        device=device,
        precision=common_precision(models, device) if is_auto else config.precision,
        batch_size=config.window_batch,
        filter_threads=config.processes or config.threads or cores(),
        memory_share=memory_share,
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
