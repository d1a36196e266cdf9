"""Rounds of training: each on a frozen copy of what is reviewed, from the last good model on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from fibseg.annotation.layers import LABELS, REVIEWED, Layers
from fibseg.annotation.proposing import fast_windows
from fibseg.annotation.splits import extended_splits
from fibseg.arrays import IGNORE
from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    VolumeDescription,
)
from fibseg.errors import FibsegError
from fibseg.files import remove, write_whole
from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run

# Whether there is a round is asked without torch.
if TYPE_CHECKING:
    from fibseg.annotation.project import AnnotationProject
    from fibseg.machine import Compute

_ROUNDS = "rounds"
_RECORD = "round.yaml"
_DESCRIPTION = "annotated"
"""Name of the data description of a round, which no description of the package has."""

FIRST_RECIPE = "quick"
NEXT_RECIPE = "correction"


@dataclass(frozen=True)
class Round:
    """A round of training.

    Attributes:
        number: from 1 on.
        journal: number of changes in the journal when it began.
        start: run directory or model file whose weights it starts from; None for a random start.
        slices: slices by split on which it trains and validates.
        left_out: classes of the project that it does not train.
        new: classes that the model at its start does not know.
        state: begun; kept, or aside where it made the validation slices worse.
        before: class -> F1 of the model at its start on the validation slices; None without one.
        after: the same of the new model; None before the end.
        seconds: that it trained.
    """

    number: int
    journal: int
    start: str | None
    slices: dict[str, list[int]]
    left_out: list[str]
    new: list[str]
    state: str = "begun"
    before: dict[str, float] | None = None
    after: dict[str, float] | None = None
    seconds: float = 0.0


def rounds_of(folder: Path) -> list[Round]:
    """Read the rounds of a project's folder, in order.

    Raises:
        FibsegError: a record is damaged.
    """
    paths = sorted((folder / _ROUNDS).glob(f"*/{_RECORD}"))
    return [_read(path) for path in paths]


def _read(path: Path) -> Round:
    try:
        return Round(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, UnicodeDecodeError):
        raise FibsegError(f"{path}: damaged; delete {path.parent} to train it again.") from None


def current_model(project: AnnotationProject) -> Path | None:
    """The model of the last round that was kept, else the person's own; None where is none."""
    for entry in reversed(rounds_of(project.folder)):
        if entry.state == "kept":
            return run_of(project.folder, entry)
    return None if project.state.model is None else Path(project.state.model)


def run_of(folder: Path, entry: Round) -> Path | None:
    """The run directory of a round; None where its training has not begun."""
    runs = sorted((_folder_of(folder, entry.number) / "runs").glob("*/*"))
    return next((path for path in runs if is_run(path)), None)


def begin_round(project: AnnotationProject) -> Round:
    """Freeze what is reviewed as the data set of a new round, or go on with a stopped one.

    A round that was stopped goes on where nothing was painted since; else a new one begins.

    Raises:
        FibsegError: too little is reviewed, or no class occurs in the training slices.
    """
    earlier = rounds_of(project.folder)
    start = current_model(project)
    if earlier and earlier[-1].state == "begun" and earlier[-1].journal == project.journal.count:
        return earlier[-1]
    reviewed = project.reviewed_slices()
    splits = extended_splits(project.state.splits, reviewed)
    # Whose region was taken back keeps its split, for when it is reviewed again.
    slices = {split: [z for z in splits[split] if z in reviewed] for split in splits}
    for split in ("train", "validation"):
        if not slices[split]:
            raise FibsegError(
                f"nothing is reviewed in the {split} slices {splits[split]} any more."
            )
    present = set[int]().union(*(reviewed[z] for z in slices["train"]))
    names = [name for index, name in enumerate(project.state.classes, 1) if index in present]
    if not names:
        raise FibsegError(
            f"no class is painted in the training slices {slices['train']}; paint one there."
        )
    entry = Round(
        number=1 + max((entry.number for entry in earlier), default=0),
        journal=project.journal.count,
        start=None if start is None else str(start),
        slices=slices,
        left_out=[name for name in project.state.classes if name not in names],
        new=[] if start is None else _unknown_classes(start, names),
    )
    project.update(splits=splits)
    _freeze(project, entry)
    return entry


def _unknown_classes(start: Path, names: Sequence[str]) -> list[str]:
    from fibseg.models.trained import load_model

    known = load_model(find_checkpoint(start)).class_names
    return [name for name in names if name not in known]


def _freeze(project: AnnotationProject, entry: Round) -> None:
    """Copy the reviewed slices of a round, and write their data description and its record."""
    folder = _folder_of(project.folder, entry.number)
    remove(folder)
    (folder / "data").mkdir(parents=True)
    copy = Layers(folder, project.layers.shape)
    height, width = project.layers.shape[1:]
    absent = [project.state.classes.index(name) + 1 for name in entry.left_out]
    for z in sorted(z for split in entry.slices.values() for z in split):
        pixels = project.layers.box(z, slice(0, height), slice(0, width))
        # A class that cannot be learned yet is neither background nor anything else.
        pixels[0][np.isin(pixels[0], absent)] = IGNORE
        copy.write((z, 0, 0), pixels)
    description = asdict(_description_of(project, entry))
    text = yaml.safe_dump(description, sort_keys=False, width=100)
    write_whole(folder / "data" / f"{_DESCRIPTION}.yaml", text)
    # Last: a folder without a record is no round, and is made anew.
    _write(project.folder, entry)


def training_command(folder: Path, entry: Round, settings: Sequence[str] = ()) -> list[str]:
    """Give the words of the process that trains a round.

    Args:
        folder: of the project.
        entry: the round.
        settings: `key=value` words that win over those of the recipe.
    """
    place = _folder_of(folder, entry.number).absolute()
    words = [
        *(sys.executable, "-m", "fibseg.commands.main", "train"),
        f"--config-dir={place}",
        f"data={_DESCRIPTION}",
        f"experiment={FIRST_RECIPE if entry.start is None else NEXT_RECIPE}",
        f"machine.runs={place / 'runs'}",
        f"machine.cache={folder.absolute() / 'cache'}",
    ]
    if entry.start is not None:
        words.append(f"init_from={Path(entry.start).absolute()}")
    return [*words, *settings]


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
    if entry.start is not None:
        before = validation_f1(project, entry, Path(entry.start), compute)
    is_better = before is None or mean_of(after) >= mean_of(before)
    finished = replace(
        entry,
        state="kept" if is_better else "aside",
        before=before,
        after=after,
        seconds=round(seconds, 1),
    )
    _write(project.folder, finished)
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
    description = replace(_description_of(project, entry), context=model.channels.context)
    reader = VolumeReader(description, 0)
    slices = [reader.with_neighbours(reader.read(z)) for z in entry.slices["validation"]]
    images = [annotated.pictures(model.grey_range) for annotated in slices]
    channels = model_channels(model, images, None, compute.processes)
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


def _description_of(project: AnnotationProject, entry: Round) -> DataDescription:
    """The data set of a round."""
    volume = VolumeDescription(
        image=project.state.image,
        labels=LABELS,
        reviewed=REVIEWED,
        voxel_size=project.state.voxel_size,
        split=dict(entry.slices),
    )
    return DataDescription(
        name=project.state.name,
        root=str(_folder_of(project.folder, entry.number).absolute()),
        classes={
            name: ClassDescription(label=index, weight=1.0)
            for index, name in enumerate(project.state.classes, 1)
            if name not in entry.left_out
        },
        background=BackgroundDescription(labels=[0], weight=0.1),
        ignore=IGNORE,
        intensity=IntensityDescription(0.1, 99.9),
        volumes=[volume],
        phantom=None,
    )


def _folder_of(folder: Path, number: int) -> Path:
    return folder / _ROUNDS / f"{number:03d}"


def _write(folder: Path, entry: Round) -> None:
    path = _folder_of(folder, entry.number) / _RECORD
    write_whole(path, yaml.safe_dump(asdict(entry), sort_keys=False))
