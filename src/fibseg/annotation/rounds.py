"""Rounds of training: each on a frozen copy of what is reviewed, from the last good model on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from fibseg.annotation.journal import Heading
from fibseg.annotation.layers import LABEL_STORE, REVIEWED_STORE, Layers
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
        start: run directory or model file whose weights it starts from, relative to the project's
            folder where it lies there; None for a random start.
        classes: name -> index in the labels, of the classes that it trains.
        slices: slices by split on which it trains and validates.
        new: classes that the model at its start does not know.
        before_classes: slices that were reviewed last before a class of the round was one of the
            project: what they show of it is background there, unless a person looks again.
        state: begun; kept, or aside where it made the validation slices worse.
        before: class -> F1 of the model at its start on the validation slices; None without one.
        after: the same of the new model; None before the end.
        seconds: that it trained.
    """

    number: int
    journal: int
    start: str | None
    classes: dict[str, int]
    slices: dict[str, list[int]]
    new: list[str]
    before_classes: list[int]
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
        raise FibsegError(
            f"{path}: damaged; put it back from a copy of the project, or move {path.parent} away."
        ) from None


def current_model(project: AnnotationProject) -> Path | None:
    """The model of the last round that was kept, else the person's own; None where is none."""
    for entry in reversed(rounds_of(project.folder)):
        if entry.state == "kept":
            return run_of(project.folder, entry)
    return None if project.state.model is None else Path(project.state.model)


def run_of(folder: Path, entry: Round) -> Path | None:
    """The run directory of a round; None where its training has not begun.

    A round that was begun again with other settings has several: a finished one counts first.
    """
    runs = [
        path for path in (_folder_of(folder, entry.number) / "runs").glob("*/*") if is_run(path)
    ]
    runs.sort(key=lambda path: (RunDirectory(path).scores.exists(), path.stat().st_mtime))
    return runs[-1] if runs else None


def start_of(folder: Path, entry: Round) -> Path | None:
    """The run directory or model file whose weights a round starts from."""
    # An absolute path stays what it is.
    return None if entry.start is None else folder / entry.start


def begin_round(project: AnnotationProject) -> Round:
    """Freeze what is reviewed as the data set of a new round, or go on with a stopped one.

    A round that was stopped goes on where nothing was painted since; else a new one begins.

    Raises:
        FibsegError: too little is reviewed, or no class occurs in the training slices.
    """
    earlier = rounds_of(project.folder)
    start = current_model(project)
    if earlier and earlier[-1].state == "begun" and earlier[-1].journal == project.journal.count:
        # The folder may have been moved since.
        _write_description(project, earlier[-1])
        return earlier[-1]
    reviewed = project.reviewed_slices()
    last = {heading.z: heading for heading in project.journal.headings()}
    accepted = {z for z in reviewed if last[z].what == "accept"}
    splits = extended_splits(project.state.splits, reviewed, accepted)
    # Whose region was taken back keeps its split, for when it is reviewed again.
    slices = {split: [z for z in splits[split] if z in reviewed] for split in splits}
    for split in ("train", "validation"):
        if not slices[split]:
            raise FibsegError(
                f"nothing is reviewed any more in the slices for {split} ({splits[split]}); "
                "review a part of another slice."
            )
    present = set[int]().union(*(reviewed[z] for z in slices["train"]))
    classes = {
        name: index for index, name in enumerate(project.state.classes, 1) if index in present
    }
    if not classes:
        raise FibsegError(
            f"no class is painted in the training slices {slices['train']}; paint one there."
        )
    used = sorted(z for entries in slices.values() for z in entries)
    _check_same_pixels(project, [last[z] for z in used])
    entry = Round(
        number=1 + max((entry.number for entry in earlier), default=0),
        journal=project.journal.count,
        start=None if start is None else _relative(start, project.folder),
        classes=classes,
        slices=slices,
        new=[] if start is None else _unknown_classes(start, classes),
        before_classes=[z for z in used if last[z].classes < max(classes.values())],
    )
    project.update(splits=splits)
    _freeze(project, entry)
    return entry


def _check_same_pixels(project: AnnotationProject, headings: Iterable[Heading]) -> None:
    """Raise FibsegError where the image has changed under what was painted."""
    for heading in headings:
        if heading.image and heading.image != project.digest(heading.z):
            raise FibsegError(
                f"{project.state.image}, slice {heading.z}: it has other pixels than when it was "
                "painted; put the image back, or take its changes back and paint it again."
            )


def _relative(path: Path, folder: Path) -> str:
    """A path from a folder, where it lies there: the folder may be moved."""
    inside = path.absolute().is_relative_to(folder.absolute())
    return str(path.absolute().relative_to(folder.absolute()) if inside else path.absolute())


def _unknown_classes(start: Path, names: Iterable[str]) -> list[str]:
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
    absent = [
        index for index, name in enumerate(project.state.classes, 1) if name not in entry.classes
    ]
    for z in sorted(z for split in entry.slices.values() for z in split):
        pixels = project.layers.box(z, slice(0, height), slice(0, width))
        # A class that cannot be learned yet is neither background nor anything else.
        pixels[0][np.isin(pixels[0], absent)] = IGNORE
        copy.write((z, 0, 0), pixels)
    _write_description(project, entry)
    # Last: a folder without a record is no round, and is made anew.
    write_round(project.folder, entry)


def _write_description(project: AnnotationProject, entry: Round) -> None:
    description = asdict(description_of_round(project, entry))
    text = yaml.safe_dump(description, sort_keys=False, width=100)
    write_whole(_folder_of(project.folder, entry.number) / "data" / f"{_DESCRIPTION}.yaml", text)


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
    start = start_of(folder, entry)
    if start is not None:
        words.append(f"init_from={start.absolute()}")
    return [*words, *settings]


def description_of_round(project: AnnotationProject, entry: Round) -> DataDescription:
    """The data set of a round."""
    volume = VolumeDescription(
        image=project.state.image,
        labels=LABEL_STORE,
        reviewed=REVIEWED_STORE,
        voxel_size=project.state.voxel_size,
        split=dict(entry.slices),
    )
    return DataDescription(
        name=project.state.name,
        root=str(_folder_of(project.folder, entry.number).absolute()),
        classes={
            name: ClassDescription(label=index, weight=1.0) for name, index in entry.classes.items()
        },
        background=BackgroundDescription(labels=[0], weight=0.1),
        ignore=IGNORE,
        intensity=IntensityDescription(0.1, 99.9),
        volumes=[volume],
        phantom=None,
    )


def _folder_of(folder: Path, number: int) -> Path:
    return folder / _ROUNDS / f"{number:03d}"


def write_round(folder: Path, entry: Round) -> None:
    """Write the record of a round."""
    path = _folder_of(folder, entry.number) / _RECORD
    write_whole(path, yaml.safe_dump(asdict(entry), sort_keys=False))
