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

from fibseg.dataset import AnnotatedSlice
from fibseg.intensity import Window, to_8bit
from fibseg.metrics import mean_f1, slices_with_class
from fibseg.runs import (
    SCORED_SPLITS,
    RunDirectory,
    read_scores,
    write_components,
    write_scores,
    write_truth,
)
from fibseg.scoring import SplitScore, score_slices
from fibseg.stack import write_pages

if TYPE_CHECKING:  # a finished run is reported without torch
    import torch

    from fibseg.checkpoint import TrainedModel

UInt8 = NDArray[np.uint8]
Label = Callable[[str, Sequence[AnnotatedSlice]], list[UInt8]]
"""A split and its slices -> their class indices (H, W)."""


def evaluate(
    directory: RunDirectory,
    class_names: Sequence[str],
    slices: dict[str, list[AnnotatedSlice]],
    data_hash: str,
    label: Label,
    window: Window,
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
    from fibseg.figures import save_curves, save_panels

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
                (f"{split}, slice {found[i].z}", to_8bit(found[i].image, window), truths[i], labels[i])
                for i in sorted({0, len(found) // 2, len(found) - 1})
            ]
            save_panels(directory.figures / f"{split}.png", rows, class_names)
    if directory.metrics.exists():
        save_curves(directory.figures / "curves.png", directory.metrics, class_names)
    return scores


def by_model(
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
    from fibseg.checkpoint import save_model
    from fibseg.exactness import choose_windows
    from fibseg.prediction import chosen_windows, model_channels, predict_slices, windows_of

    windows = chosen_windows(model) if model.architecture == "forest" else windows_of(model, "paper")

    def label(split: str, found: Sequence[AnnotatedSlice]) -> list[UInt8]:
        images, truths = [to_8bit(one.image, model.window) for one in found], [one.labels for one in found]
        channels = model_channels(model, images, cache, processes)
        hidden = not console.is_terminal
        shown = iter(track(channels, f"scoring {split}", console=console, disable=hidden, transient=True))
        labels = list(predict_slices(model, shown, windows, window_batch, device, model.precision, processes))
        if split == "validation" and windows.kind == "paper":
            chosen = choose_windows(model, channels, truths, labels, window_batch, device, model.precision)
            save_model(replace(model, windows=chosen), directory.best)
            told = f"{chosen['kind']} {chosen['size'] or ''}".strip()
            console.print(f"predict.py will cut slices by: {told} (loses {chosen['loss']:.3f} F1)", highlight=False)
        return labels

    return label


def write_results(
    directory: RunDirectory, facts: dict[str, Any], class_names: list[str], scores: dict[str, SplitScore]
) -> None:
    """components.csv, then scores.json: with it the run is finished."""
    write_components(directory, scores, class_names)
    write_scores(directory, facts, class_names, scores)


def final_scores(directory: RunDirectory) -> dict[str, dict[str, float]]:
    """`f1_by_class` of scores.json."""
    return f1_by_class(read_scores(directory))


def f1_by_class(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean per-slice F1, split -> class -> score, from what scores.json holds or will hold."""
    counts = split_counts(content)
    return {s: dict(zip(content["classes"][1:], mean_f1(c)[1:].tolist(), strict=True)) for s, c in counts.items()}


def split_counts(content: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
    """Confusion counts (slices, K, K) by split, from what scores.json holds."""
    found = {s: [one["confusion"] for one in content["splits"][s]] for s in SCORED_SPLITS}
    k = len(content["classes"])
    return {split: np.array(confusions, np.int64).reshape(-1, k, k) for split, confusions in found.items()}


def mean_validation_f1(directory: RunDirectory) -> float:
    """Mean over the classes of the per-slice F1 of the validation slices: what a search over configurations raises."""
    return float(np.nanmean(list(final_scores(directory)["validation"].values())))


def report(directory: RunDirectory, console: Console) -> float:
    """Print F1 per class from scores.json; gives `mean_validation_f1`."""
    content = read_scores(directory)
    names, counts = content["classes"], split_counts(content)
    table = Table("class", *(f"{split} F1 (slices)" for split in SCORED_SPLITS), title="mean of the per-slice F1")
    for index, name in enumerate(names[1:], 1):
        table.add_row(name, *(f"{mean_f1(c)[index]:.3f} ({slices_with_class(c)[index]})" for c in counts.values()))
    console.print(table)
    model = f", checkpoints/{path.name}" if (path := directory.model()) else ""
    console.print(f"{directory.path}: scores.json, figures/, labels/{model}", highlight=False)
    return mean_validation_f1(directory)
