"""A data description: the schema of conf/data/*.yaml and the checks that need no file.

docs/ARCHITECTURE.md shows a full example.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Pixels
from fibseg.errors import FibsegError

SPLITS = ("train", "validation", "test")


# OmegaConf takes these classes as schemas. They are not frozen, which breaks its composition, and
# have lists for tuples, whose length it would not check.
@dataclass
class ClassDescription:
    """One class: its value in the label files and its weight in the Dice loss."""

    label: int
    weight: float


@dataclass
class BackgroundDescription:
    """Label values of annotated pixels of no class, and their weight in the Dice loss."""

    # A list, since several structures may be annotated that are of no interest.
    labels: list[int]
    weight: float


@dataclass
class IntensityDescription:
    """Percentiles of the grey values that become 0 and 255.

    0 and 100 are the minimum and maximum, as in Meyer et al., ISBI 2021. `per` is "stack", for
    percentiles over the training slices, or "slice", for percentiles of every single slice.
    """

    low: float
    high: float
    per: str = "stack"


@dataclass
class SecondExpert:
    """Labels of another person, and the slices of the image that they cover.

    They lie at the y and x of the first expert's labels.
    """

    labels: Any
    slices: list[Any]


@dataclass
class VolumeDescription:
    """One annotated image.

    Entries of a list cannot take defaults from YAML, so the defaults of these keys are here.

    Attributes:
        image: path of the stack, relative to the root of the description.
        labels: path of integer labels, or a mapping from class to the path of its mask.
        voxel_size: (z, y, x) in nm.
        split: slices of the image for train, validation and test: positions, "start:stop" or
            "start:stop:step".
        offset: (z, y, x) in pixels: where the labels start in the image.
        second_expert: labels of another person.
        mask: path of a stack of the image's shape; pixels where it is 0 are ignored.
    """

    image: str
    # OmegaConf has no union of a text and a mapping, so `labels` is checked when it is opened.
    labels: Any
    voxel_size: list[float]
    split: dict[str, list[Any]]
    offset: list[int] = field(default_factory=lambda: [0, 0, 0])
    second_expert: SecondExpert | None = None
    mask: str | None = None


@dataclass
class PhantomDescription:
    """A phantom cell that is written to the root if it is missing: (Z, H, W), and its seed."""

    shape: list[int]
    seed: int


# No defaults here: each value stands in YAML, and in one place only.
@dataclass
class DataDescription:
    """A data set.

    Attributes:
        name: of the data set, and of the folder of its runs.
        root: folder that the paths of the volumes are relative to.
        classes: by name, in the order of their indices; the background is class 0 and implied.
        background: label values of class 0.
        ignore: label value of unannotated pixels, if there is one.
        intensity: grey values that become 0 and 255.
        volumes: annotated images.
        phantom: of a synthetic data set.
    """

    name: str
    root: str
    classes: dict[str, ClassDescription]
    background: BackgroundDescription
    ignore: int | None
    intensity: IntensityDescription
    volumes: list[VolumeDescription]
    phantom: PhantomDescription | None


def describe_labels(slices: Iterable[Pixels]) -> DataDescription:
    """Describe label files alone: every value but 0 and 255 is a class named by it.

    Args:
        slices: label values (H, W), read once.

    Raises:
        FibsegError: there is no value but 0 and 255.
    """
    values = set[int]()
    for labels in slices:
        values.update(np.unique(labels).tolist())
    # 0 is the background, and 255 means unannotated after `fibseg import`.
    values -= {0, IGNORE}
    if not values:
        raise FibsegError(
            "both stacks hold nothing but 0 in these slices; there is nothing to score."
        )
    description = DataDescription(
        name="labels",
        root=".",
        classes={str(value): ClassDescription(value, 1.0) for value in sorted(values)},
        background=BackgroundDescription([0], 1.0),
        ignore=IGNORE,
        intensity=IntensityDescription(0.0, 100.0),
        volumes=[],
        phantom=None,
    )
    check_description(description)
    return description


def class_names(description: DataDescription) -> list[str]:
    """List the class names in the order of the class indices, background first."""
    return ["background", *description.classes]


def class_weights(description: DataDescription) -> list[float]:
    """List the weights of the loss in the order of the class indices."""
    weights = [entry.weight for entry in description.classes.values()]
    return [description.background.weight, *weights]


def label_values(description: DataDescription) -> list[int]:
    """List the value in label files of each class index; the first one of the background."""
    values = [entry.label for entry in description.classes.values()]
    # A prediction writes one value for the background, whichever of them the training read.
    return [description.background.labels[0], *values]


def check_description(description: DataDescription) -> None:
    """Raise FibsegError if the description contradicts itself; opens no file."""
    _check_classes(description)
    _check_label_values(description)
    _check_intensity(description.intensity)
    weights = class_weights(description)
    # With all weights 0 the loss is constant, and nothing is learned.
    # Beyond 32 bits a weight is infinite for the loss.
    impossible = [weight for weight in weights if not 0 <= weight < 1e38]
    if impossible or not sum(weights) > 0:
        value = impossible[0] if impossible else 0
        raise FibsegError(
            f"data: a class weight of {value:g} is impossible; expected finite numbers of 0 or "
            "more, and one of them more than 0."
        )


def _check_classes(description: DataDescription) -> None:
    names = list(description.classes)
    # Class indices are uint8: 0 is the background, 255 is IGNORE.
    if not names or len(names) >= IGNORE:
        raise FibsegError(f"data.classes: {len(names)} classes; expected 1 to {IGNORE - 1}.")
    if "background" in names:
        raise FibsegError(
            "data.classes: 'background' is implied; "
            "give its label values in data.background.labels."
        )
    if not description.background.labels:
        raise FibsegError(
            "data.background.labels: empty; name the label values that are none of the classes."
        )


def _check_label_values(description: DataDescription) -> None:
    values = [entry.label for entry in description.classes.values()]
    values += description.background.labels
    if description.ignore is not None:
        values.append(description.ignore)
    # A value of two meanings would become whichever class is filled in last.
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise FibsegError(
            f"data: label value {repeated[0]} is claimed twice; every value means one thing."
        )


def _check_intensity(intensity: IntensityDescription) -> None:
    low = intensity.low
    high = intensity.high
    if not 0 <= low < high <= 100:
        raise FibsegError(
            f"data.intensity: percentiles {low} and {high}; expected 0 <= low < high <= 100."
        )
    if intensity.per not in ("stack", "slice"):
        raise FibsegError(f"data.intensity.per: {intensity.per}; expected stack or slice.")
