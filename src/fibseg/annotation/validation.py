"""What a round was worth: its model and the one at its start on the validation slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fibseg.annotation.proposing import fast_windows
from fibseg.annotation.rounds import (
    Round,
    description_of_round,
    rounds_of,
    run_of,
    start_of,
    write_round,
)
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory, find_checkpoint

if TYPE_CHECKING:
    from fibseg.annotation.project import AnnotationProject
    from fibseg.machine import Compute


def finish_round(
    project: AnnotationProject, entry: Round, seconds: float, compute: Compute
) -> Round:
    """Compare the model of a round with the one at its start, on the validation slices.

    A round that is no worse is kept, and the next one starts from it.

    Args:
        project: whose round it is.
        entry: the round, whose training has ended.
        seconds: that it trained.
        compute: what the networks compute with.

    Raises:
        FibsegError: the training has not ended.
    """
    run = run_of(project.folder, entry)
    if run is None or not RunDirectory(run).scores.exists():
        raise FibsegError(f"round {entry.number}: its training has not ended.")
    after = validation_f1(project, entry, run, compute)
    before = None
    start = start_of(project.folder, entry)
    if start is not None:
        before = validation_f1(project, entry, start, compute)
    # A class that the model before it did not know says nothing of what it forgot; thousandths are
    # no difference.
    known = {name: value for name, value in after.items() if name not in entry.new}
    is_better = (
        before is None
        or round(mean_of(known) - mean_of({name: before[name] for name in known}), 3) >= 0
    )
    finished = replace(
        entry,
        state="kept" if is_better else "aside",
        before=before,
        after=after,
        seconds=round(seconds, 1),
    )
    write_round(project.folder, finished)
    return finished


def finish_rounds(project: AnnotationProject, compute: Compute) -> list[Round]:
    """Finish the rounds whose training ended while nobody compared them, as after a kill."""
    finished = []
    for entry in rounds_of(project.folder):
        run = run_of(project.folder, entry) if entry.state == "begun" else None
        if run is not None and RunDirectory(run).scores.exists():
            finished.append(finish_round(project, entry, entry.seconds, compute))
    return finished


def mean_of(scores: Mapping[str, float]) -> float:
    """Average the F1 of the classes that occur."""
    values = [value for value in scores.values() if not np.isnan(value)]
    return float(np.mean(values)) if values else 0.0


def validation_f1(
    project: AnnotationProject, entry: Round, run: Path, compute: Compute
) -> dict[str, float]:
    """F1 of each class of a round on its validation slices; NaN for a class that is not there.

    A class that the model does not know has F1 0.
    """
    from fibseg.data.volume import VolumeReader
    from fibseg.models.trained import load_model
    from fibseg.prediction.slices import model_channels, predict_slices
    from fibseg.scores.pixels import confusion_counts, mean_f1

    model = load_model(find_checkpoint(run))
    # Of the round as it was: a class that came later has another number behind it.
    description = replace(description_of_round(project, entry), context=model.channels.context)
    reader = VolumeReader(description, 0)
    slices = [reader.with_neighbours(reader.read(z)) for z in entry.slices["validation"]]
    images = [annotated.pictures(model.grey_range) for annotated in slices]
    channels = model_channels(model, images, None, compute.filter_threads)
    names = list(description.classes)
    # Class indices of the model -> those of the round, by name.
    table = np.array([_index_of(name, names) for name in model.class_names], np.uint8)
    windows = fast_windows(model, project.image.shape)
    predicted = predict_slices(model, channels, windows, compute)
    counts = [
        confusion_counts(annotated.labels, table[labels], len(names) + 1)
        for annotated, labels in zip(slices, predicted, strict=True)
    ]
    values = mean_f1(np.stack(counts))
    return {name: float(values[index]) for index, name in enumerate(names, 1)}


def _index_of(name: str, names: Sequence[str]) -> int:
    """Index of a class among those of a round; 0, the background, for any other."""
    return names.index(name) + 1 if name in names else 0
