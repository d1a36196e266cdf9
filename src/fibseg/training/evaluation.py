"""What follows a training: labels and scores of validation and test slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.progress import track

from fibseg.arrays import Ints, Place, UInt8
from fibseg.data.description import DataDescription, instance_classes
from fibseg.data.scoring.annotated import score_annotated_objects
from fibseg.data.volume import AnnotatedSlice
from fibseg.runs.components import write_components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import (
    SCORED_SPLITS,
    write_scores,
)
from fibseg.scores.slices import SplitScore, score_slices
from fibseg.stack import write_pages

# A finished run is reported without torch.
if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.machine import Compute
    from fibseg.models.trained import TrainedModel
    from fibseg.training.opened import OpenedRun

_COMPARED_SLICES = 2
"""Validation slices by which windows are compared with the paper's where those score nothing."""

Label = Callable[[str, Sequence[AnnotatedSlice]], "tuple[list[UInt8], list[Ints] | None]"]
"""A split and its slices -> their class indices (H, W), and numbers (H, W) of their objects; None
for connected components, and where no class has objects."""


def evaluate(
    directory: RunDirectory,
    description: DataDescription,
    slices: Mapping[str, Sequence[AnnotatedSlice]],
    class_names: Sequence[str],
    label: Label,
) -> dict[str, SplitScore]:
    """Label and score the validation and test slices, and write the labels.

    Args:
        directory: of the run; it takes the labels.
        description: of the data set.
        slices: annotated slices by split.
        class_names: names of the classes, background first.
        label: labels slices.

    Returns:
        The scores of each split.
    """
    scores = {}
    for split in SCORED_SPLITS:
        of_split = slices[split]
        labels, objects = label(split, of_split)
        truths = [annotated.labels for annotated in of_split]
        places = [Place(annotated.volume, annotated.z) for annotated in of_split]
        score = score_slices(places, truths, labels, len(class_names))
        classes = {name: class_names.index(name) for name in instance_classes(description)}
        if classes:
            matches = score_annotated_objects(of_split, labels, classes, objects)
            score = replace(score, objects=matches)
        scores[split] = score
        # A data set without test slices has scores of no slice.
        if of_split:
            voxel_size = common_voxel_size(description, of_split)
            write_pages(directory.labels(split), labels, voxel_size)
    return scores


def common_voxel_size(
    description: DataDescription, slices: Sequence[AnnotatedSlice]
) -> list[float] | None:
    """The voxel size (z, y, x) in nm of all slices; None where they come from volumes of several.

    The slices need not be neighbours, so that z is the thickness of each and not their distance.
    """
    volumes = {annotated.volume for annotated in slices}
    sizes = [list(description.volumes[volume].voxel_size) for volume in sorted(volumes)]
    return sizes[0] if all(size == sizes[0] for size in sizes) else None


def label_by_model(
    model: TrainedModel, run: OpenedRun, compute: Compute, settled: dict[str, Any]
) -> Label:
    """Label slices by a network or a forest; the validation slices settle how.

    Args:
        model: that was trained.
        run: whose model it is.
        compute: what the network computes with.
        settled: takes "windows", "decision" and "model_sha256", as scores.json names them.
    """
    from fibseg.prediction.instances.blocks import objects_of_slices, slice_maps
    from fibseg.prediction.instances.choice import with_object_rules
    from fibseg.prediction.slices import model_channels, predict_slices
    from fibseg.prediction.windows import chosen_windows, windows_of

    finished = model
    # Those of the paper, which need no check; of a forest, those that give what all others give.
    windows = windows_of(model, model.kind.windows[0])

    def label(
        split: str, slices: Sequence[AnnotatedSlice]
    ) -> tuple[list[UInt8], list[Ints] | None]:
        nonlocal finished, windows
        images = [annotated.pictures(model.grey_range) for annotated in slices]
        channels = model_channels(model, images, run.cache, compute.filter_threads)
        # Chosen on validation slices: test slices must decide nothing.
        if split == "validation":
            finished = settled_model(finished, run, channels, compute)
            if run.config.windows == "auto":
                windows = chosen_windows(finished)
            # A forest labels a pixel alike in any windows: scores.json says "whole" of it.
            if "paper" in model.kind.windows:
                settled["windows"] = windows.kind
            assert finished.decision is not None
            settled["decision"] = finished.decision.described(finished.class_names)
        followed = _followed(channels, split, run.console)
        labels = list(predict_slices(finished, followed, windows, compute))
        maps = slice_maps(finished, channels, windows, compute)
        if split == "validation":
            finished = with_object_rules(finished, slices, labels, maps)
            settled["model_sha256"] = keep_settled(
                model=finished, run=run, channels=channels, labels=labels, compute=compute
            )
        places = [annotated.place for annotated in slices]
        return labels, objects_of_slices(finished, places, labels, maps)

    return label


def _followed(channels: Sequence[UInt8], split: str, console: Console) -> Iterable[UInt8]:
    """Show how many slices of a split are scored, in a terminal."""
    return track(
        channels,
        f"scoring {split}",
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def settled_model(
    model: TrainedModel, run: OpenedRun, channels: Sequence[UInt8], compute: Compute
) -> TrainedModel:
    """Give the model with its decision, and with the windows of its scores where these are auto.

    Both are chosen on the validation slices.

    Args:
        model: that was trained.
        run: whose model it is.
        channels: (C, H, W) of the validation slices.
        compute: what the network computes with.
    """
    from fibseg.prediction.decision import with_decision
    from fibseg.prediction.exactness import choose_windows
    from fibseg.prediction.intensity import spread
    from fibseg.prediction.slices import predict_slices
    from fibseg.prediction.windows import chosen_windows, windows_of

    config = run.config
    truths = [annotated.labels for annotated in run.slices["validation"]]
    is_auto = config.windows == "auto"
    if "paper" in model.kind.windows and is_auto:
        # The paper's windows take nine times as long as whole slices: a few tell the difference.
        few = spread(channels, _COMPARED_SLICES)
        chosen = choose_windows(
            model=model,
            channels=few,
            truths=spread(truths, _COMPARED_SLICES),
            paper=list(predict_slices(model, few, windows_of(model, "paper"), compute)),
            compute=compute,
        )
        model = replace(model, windows=chosen)
    scored = chosen_windows(model) if is_auto else windows_of(model, model.kind.windows[0])
    return with_decision(
        model=model,
        kind=config.decision,
        channels=channels,
        truths=truths,
        prior=None if config.decision == "argmax" else prior_of(run),
        windows=scored,
        compute=compute,
        cleans=config.smallest == "validation",
    )


def prior_of(run: OpenedRun) -> list[float] | None:
    """The offsets of the shares of the classes; None where a training draws no patches."""
    from fibseg.data.description import class_names
    from fibseg.prediction.decision import prior_offsets

    if not run.config.kind.by_gradient:
        return None
    patches = run.config.patches
    labels = [annotated.labels for annotated in run.slices["train"]]
    count = len(class_names(run.config.data))
    return prior_offsets(labels, patches.size, patches.class_share, count)


def print_settled(model: TrainedModel, console: Console) -> None:
    """Print how predictions cut slices, and what they add to the scores of the classes."""
    chosen = model.windows
    if chosen is not None and "paper" in model.kind.windows:
        name = f"{chosen['kind']} {chosen['size'] or ''}".strip()
        text = f"predictions will cut slices by: {name} (loses {chosen['loss']:.3f} F1)"
        console.print(text, highlight=False)
    rules = model.objects
    if rules is not None and rules.slices:
        text = f"objects: seeds above {rules.level:g}, linked from {rules.overlap:g} of overlap on"
        console.print(text, highlight=False)
    decision = model.decision
    if decision is None:
        return
    if any(decision.smallest):
        named = zip(model.class_names, decision.smallest, strict=True)
        sizes = ", ".join(f"{name} {size}" for name, size in named if size)
        console.print(f"smallest objects, in pixels: {sizes}", markup=False, highlight=False)
    if decision.kind == "argmax":
        return
    pairs = zip(model.class_names[1:], decision.offsets[1:], strict=True)
    offsets = ", ".join(f"{name} {offset:+.2f}" for name, offset in pairs)
    gain = "" if decision.gain is None else f" (mean F1 {decision.gain:+.3f} on pixels held apart)"
    console.print(f"added to the scores: {offsets}{gain}", markup=False, highlight=False)


def keep_settled(
    model: TrainedModel,
    run: OpenedRun,
    channels: Sequence[UInt8],
    labels: Sequence[UInt8],
    compute: Compute,
) -> str:
    """Write the model with what was settled, and with what labels of its training look like.

    Windows of predictions are chosen here where the scores are by the paper's.

    Args:
        model: that was trained, with its decision.
        run: whose model it is.
        channels: (C, H, W) of the validation slices.
        labels: (H, W) of the validation slices, as they are scored.
        compute: what the network computes with.

    Returns:
        The SHA-256 of its file.
    """
    from fibseg.models.trained import keep_model
    from fibseg.prediction.exactness import choose_windows
    from fibseg.prediction.shift import with_reference

    validation = run.slices["validation"]
    if run.config.windows == "paper" and "paper" in model.kind.windows:
        truths = [annotated.labels for annotated in validation]
        chosen = choose_windows(
            model=model, channels=channels, truths=truths, paper=labels, compute=compute
        )
        model = replace(model, windows=chosen)
    print_settled(model, run.console)
    intensity = run.config.data.intensity
    model = with_reference(
        model=replace(model, grey_percentiles=[intensity.low, intensity.high]),
        train=run.slices["train"],
        validation=validation,
        channels=channels,
        labels=labels,
        compute=compute,
    )
    # Written at once: predict.py reads it from the file of the model.
    return keep_model(model, run.directory)


def write_results(
    directory: RunDirectory,
    facts: dict[str, Any],
    class_names: list[str],
    scores: dict[str, SplitScore],
) -> None:
    """Write components.csv, then scores.json, which ends the run."""
    # scores.json comes last: a run that has it counts as finished.
    write_components(directory, scores, class_names)
    write_scores(directory, facts, class_names, scores)
