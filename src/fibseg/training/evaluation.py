"""What follows a training: labels and scores of validation and test slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.progress import track

from fibseg.arrays import Place, UInt8
from fibseg.data.description import DataDescription
from fibseg.data.grey import to_8bit
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
    from fibseg.machine import Compute
    from fibseg.models.trained import TrainedModel
    from fibseg.training.opened import OpenedRun

Label = Callable[[str, Sequence[AnnotatedSlice]], list[UInt8]]
"""A split and its slices -> their class indices (H, W)."""


def evaluate(run: OpenedRun, class_names: Sequence[str], label: Label) -> dict[str, SplitScore]:
    """Label and score the validation and test slices, and write the labels.

    Args:
        run: whose slices are scored.
        class_names: names of the classes, background first.
        label: labels slices.

    Returns:
        The scores of each split.
    """
    scores = {}
    for split in SCORED_SPLITS:
        slices = run.slices[split]
        labels = label(split, slices)
        truths = [annotated.labels for annotated in slices]
        places = [Place(annotated.volume, annotated.z) for annotated in slices]
        scores[split] = score_slices(places, truths, labels, len(class_names))
        # A data set without test slices has scores of no slice.
        if slices:
            voxel_size = common_voxel_size(run.config.data, slices)
            write_pages(run.directory.labels(split), labels, voxel_size)
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


def label_by_model(model: TrainedModel, run: OpenedRun, compute: Compute) -> Label:
    """Label slices by a network, in the paper's windows, or by a forest.

    With the validation slices `settle_prediction` settles what predictions must know.
    """
    from fibseg.prediction.slices import model_channels, predict_slices
    from fibseg.prediction.windows import windows_of

    console = run.console
    # Scores are always those of the first kind, which needs no check: a choice of windows must not
    # change the scores of a run.
    windows = windows_of(model, model.kind.windows[0])

    def label(split: str, slices: Sequence[AnnotatedSlice]) -> list[UInt8]:
        images = [to_8bit(annotated.image, model.grey_range) for annotated in slices]
        channels = model_channels(model, images, run.cache, compute.processes)
        progress = track(
            channels,
            f"scoring {split}",
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        labels = list(predict_slices(model, progress, windows, compute))
        # Chosen on validation slices: test slices must decide nothing.
        if split == "validation":
            settle_prediction(
                model=model, run=run, channels=channels, labels=labels, compute=compute
            )
        return labels

    return label


def settle_prediction(
    model: TrainedModel,
    run: OpenedRun,
    channels: Sequence[UInt8],
    labels: Sequence[UInt8],
    compute: Compute,
) -> None:
    """Keep in the model how predictions cut slices, and what labels of its training look like.

    Args:
        model: that was trained.
        run: whose model it is.
        channels: (C, H, W) of the validation slices.
        labels: (H, W) of the validation slices, by the windows of the scores.
        compute: what the network computes with.
    """
    from fibseg.models.trained import save_model
    from fibseg.prediction.exactness import choose_windows
    from fibseg.prediction.shift import with_reference

    validation = run.slices["validation"]
    if "paper" in model.kind.windows:
        truths = [annotated.labels for annotated in validation]
        chosen = choose_windows(
            model=model, channels=channels, truths=truths, paper=labels, compute=compute
        )
        model = replace(model, windows=chosen)
        name = f"{chosen['kind']} {chosen['size'] or ''}".strip()
        run.console.print(
            f"predictions will cut slices by: {name} (loses {chosen['loss']:.3f} F1)",
            highlight=False,
        )
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
    save_model(model, run.directory.forest if model.kind.compiled else run.directory.best)


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
