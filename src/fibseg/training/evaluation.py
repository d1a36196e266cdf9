"""What follows a training: labels and scores of the validation and test slices, figures, and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.slices import AnnotatedSlice
from fibseg.data.truth import write_truth
from fibseg.runs.components import write_components
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import (
    SCORED_SPLITS,
    mean_validation_f1,
    read_scores,
    split_counts,
    write_scores,
)
from fibseg.scores.pixels import mean_f1, slices_with_class
from fibseg.scores.slices import SplitScore, score_slices
from fibseg.stack import write_pages

if TYPE_CHECKING:  # a finished run is reported without torch
    import torch

    from fibseg.models.trained import TrainedModel


UInt8 = NDArray[np.uint8]
Label = Callable[[str, Sequence[AnnotatedSlice]], list[UInt8]]
"""A split and its slices -> their class indices (H, W)."""


def evaluate(
    directory: RunDirectory,
    class_names: Sequence[str],
    slices: dict[str, list[AnnotatedSlice]],
    data_hash: str,
    label: Label,
    window: GreyRange,
) -> dict[str, SplitScore]:
    """Label and score the validation and test slices; write labels, the shared truth and the figures.

    Args:
        directory: of the run.
        class_names: background first.
        slices: of every split.
        data_hash: of all of them.
        label: what labels slices.
        window: grey values that are black and white in the figures.
    """
    from fibseg.pages.figures import save_curves, save_panels

    write_truth(directory.path.parent / "truth" / data_hash, slices, class_names)
    scores = {}
    for split in SCORED_SPLITS:
        found = slices[split]
        labels = label(split, found)
        truths, places = [one.labels for one in found], [(one.volume, one.z) for one in found]
        scores[split] = score_slices(places, truths, labels, len(class_names))
        if found:
            write_pages(directory.labels(split), labels)
            rows = [
                (
                    f"{split}, slice {found[i].z}",
                    to_8bit(found[i].image, window),
                    truths[i],
                    labels[i],
                )
                for i in sorted({0, len(found) // 2, len(found) - 1})
            ]
            save_panels(directory.figures / f"{split}.png", rows, class_names)
    if directory.metrics.exists():
        save_curves(directory.figures / "curves.png", directory.metrics, class_names)
    return scores


def label_by_model(
    model: TrainedModel,
    directory: RunDirectory,
    device: torch.device,
    window_batch: int,
    cache: Path,
    processes: int,
    console: Console,
) -> Label:
    """Labels by a network, in the paper's windows, or by a forest.

    The network's checkpoint is told which faster windows are good enough, on validation slices.
    """
    from fibseg.models.trained import save_model
    from fibseg.prediction.exactness import choose_windows
    from fibseg.prediction.slices import model_channels, predict_slices
    from fibseg.prediction.windows import chosen_windows, windows_of

    windows = (
        chosen_windows(model) if model.architecture == "forest" else windows_of(model, "paper")
    )

    def label(split: str, found: Sequence[AnnotatedSlice]) -> list[UInt8]:
        images, truths = (
            [to_8bit(one.image, model.window) for one in found],
            [one.labels for one in found],
        )
        channels = model_channels(model, images, cache, processes)
        hidden = not console.is_terminal
        shown = iter(
            track(channels, f"scoring {split}", console=console, disable=hidden, transient=True)
        )
        labels = list(
            predict_slices(model, shown, windows, window_batch, device, model.precision, processes)
        )
        if split == "validation" and windows.kind == "paper":
            chosen = choose_windows(
                model, channels, truths, labels, window_batch, device, model.precision
            )
            save_model(replace(model, windows=chosen), directory.best)
            told = f"{chosen['kind']} {chosen['size'] or ''}".strip()
            console.print(
                f"predict.py will cut slices by: {told} (loses {chosen['loss']:.3f} F1)",
                highlight=False,
            )
        return labels

    return label


def write_results(
    directory: RunDirectory,
    facts: dict[str, Any],
    class_names: list[str],
    scores: dict[str, SplitScore],
) -> None:
    """components.csv, then scores.json: with it the run is finished."""
    write_components(directory, scores, class_names)
    write_scores(directory, facts, class_names, scores)


def report(directory: RunDirectory, console: Console) -> float:
    """Print F1 per class from scores.json; gives `mean_validation_f1`."""
    content = read_scores(directory)
    names, counts = content["classes"], split_counts(content)
    table = Table(
        "class",
        *(f"{split} F1 (slices)" for split in SCORED_SPLITS),
        title="mean of the per-slice F1",
    )
    for index, name in enumerate(names[1:], 1):
        table.add_row(
            name,
            *(f"{mean_f1(c)[index]:.3f} ({slices_with_class(c)[index]})" for c in counts.values()),
        )
    console.print(table)
    model = f", checkpoints/{path.name}" if (path := directory.model()) else ""
    console.print(f"{directory.path}: scores.json, figures/, labels/{model}", highlight=False)
    return mean_validation_f1(directory)
