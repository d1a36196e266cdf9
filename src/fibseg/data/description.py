"""A data description: the schema of conf/data/*.yaml and the checks that need no file.

docs/ARCHITECTURE.md shows a full example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError

SPLITS = ("train", "validation", "test")


@dataclass
class ClassDescription:
    """One class: its value in the label files and its weight in the Dice loss."""

    label: int
    weight: float


@dataclass
class BackgroundDescription:
    """Label values that were looked at and are none of the classes, and their weight in the loss."""

    labels: list[int]
    weight: float


@dataclass
class IntensityDescription:
    """Percentiles that become 0 and 255, over the training slices (`per` is "stack") or in every slice by itself.

    0 and 100 are the paper's minimum and maximum.
    """

    low: float
    high: float
    per: str = "stack"


@dataclass
class SecondExpert:
    """Labels by another person, in the same place as the first expert's, and the slices (of the image) they cover."""

    labels: Any
    slices: list[Any]


@dataclass
class VolumeDescription:
    """One annotated image. Entries of a list cannot take defaults from YAML, so these stand here.

    Attributes:
        image: path of the stack, relative to the root of the description.
        labels: path of integer labels, or a mapping from class to the path of its mask.
        voxel_size: (z, y, x) in nm.
        split: slices of the image for train, validation and test: positions, "start:stop" or "start:stop:step".
        offset: (z, y, x) in pixels: where the labels start in the image.
        second_expert: labels of another person.
        mask: path of a stack of the image's shape; pixels where it is 0 are ignored.
    """

    image: str
    labels: Any
    voxel_size: list[float]
    split: dict[str, list[Any]]
    offset: list[int] = field(default_factory=lambda: [0, 0, 0])
    second_expert: SecondExpert | None = None
    mask: str | None = None


@dataclass
class PhantomDescription:
    """Make a phantom cell in the root before the start if it is not there: (Z, H, W) in pixels, and its seed."""

    shape: list[int]
    seed: int


@dataclass
class DataDescription:
    """A data set: classes in order (background is class 0 and implied), volumes, and where annotation ends."""

    name: str
    root: str
    classes: dict[str, ClassDescription]
    background: BackgroundDescription
    ignore: int | None
    intensity: IntensityDescription
    volumes: list[VolumeDescription]
    phantom: PhantomDescription | None


def describe_values(values: Sequence[int]) -> DataDescription:
    """A description without volumes for label files alone: every value but 0 and 255 is a class named by it."""
    classes = {str(value): ClassDescription(value, 1.0) for value in values if value != 0}
    intensity, background = IntensityDescription(0.0, 100.0), BackgroundDescription([0], 1.0)
    return DataDescription("labels", ".", classes, background, IGNORE, intensity, [], None)


def class_names(description: DataDescription) -> list[str]:
    """Names in the order of the class indices, background first."""
    return ["background", *description.classes]


def class_weights(description: DataDescription) -> list[float]:
    """Weights of the loss in the order of the class indices."""
    return [description.background.weight, *(one.weight for one in description.classes.values())]


def label_values(description: DataDescription) -> list[int]:
    """Value in label files of each class index."""
    return [description.background.labels[0], *(one.label for one in description.classes.values())]


def check_description(description: DataDescription) -> None:
    """Raise FibsegError if the description contradicts itself; opens no file."""
    names = list(description.classes)
    if not names or len(names) >= IGNORE:
        raise FibsegError(f"data.classes: {len(names)} classes; expected 1 to {IGNORE - 1}.")
    if "background" in names:
        raise FibsegError(
            "data.classes: 'background' is implied; give its label values in data.background.labels."
        )
    if not description.background.labels:
        raise FibsegError(
            "data.background.labels: empty; name the label values that are none of the classes."
        )
    values = [one.label for one in description.classes.values()] + list(
        description.background.labels
    )
    values += [] if description.ignore is None else [description.ignore]
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise FibsegError(
            f"data: label value {twice[0]} is claimed twice; every value means one thing."
        )
    low, high = description.intensity.low, description.intensity.high
    if not 0 <= low < high <= 100:
        raise FibsegError(
            f"data.intensity: percentiles {low} and {high}; expected 0 <= low < high <= 100."
        )
    if description.intensity.per not in ("stack", "slice"):
        raise FibsegError(
            f"data.intensity.per: {description.intensity.per}; expected stack or slice."
        )
    if (
        any(weight < 0 for weight in class_weights(description))
        or not sum(class_weights(description)) > 0
    ):
        raise FibsegError("data: class weights must be 0 or more, and one of them more than 0.")
