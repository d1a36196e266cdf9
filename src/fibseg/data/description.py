"""A data description: the schema of conf/data/*.yaml and the checks that need no file.

docs/ARCHITECTURE.md shows a full example.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError
from fibseg.rules import CLASS_NAME, NAME, Check, brief, require

_LARGEST_VOXEL = 1e9
"""Side of a voxel in nm: a metre."""

_LARGEST_PHANTOM = 10**9
"""Voxels of a phantom, which is made in memory."""

_MOST_TOUCHING = 1000
"""Pairs of touching mitochondria, for each of which room is looked for in about a second."""

_FEWEST_FOLDS = 3

SPLITS = ("train", "validation", "test")


# OmegaConf takes these classes as schemas. They are not frozen, which breaks its composition, and
# have lists for tuples, whose length it would not check.
@dataclass
class ClassDescription:
    """One class.

    Attributes:
        label: its value in the label files.
        weight: in the Dice loss.
        instances: whether its objects are told apart.
    """

    label: int
    weight: float
    instances: bool = False


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
        reviewed: where a person has looked: the path of a stack of the image's shape, of a CSV file
            of napari's shapes, or a mapping from slices to "whole" or to boxes [y0, x0, y1, x1].
            Labels outside are ignored, and what is unpainted inside is background.
        instances: path of a stack of the labels' shape with a number for each object, 0 for none,
            or a mapping from class to such a path; without it the objects of a class are the
            connected components of its labels.
    """

    image: str
    # OmegaConf has no union of a text and a mapping, so `labels` is checked when it is opened.
    labels: Any
    voxel_size: list[float]
    split: dict[str, list[Any]]
    offset: list[int] = field(default_factory=lambda: [0, 0, 0])
    second_expert: SecondExpert | None = None
    mask: str | None = None
    reviewed: Any = None
    instances: Any = None


@dataclass
class PhantomDescription:
    """A phantom cell that is written to the root if it is missing.

    Attributes:
        shape: (Z, H, W).
        seed: of the cell.
        touching: pairs of mitochondria that touch. With such pairs, instances.tif is written, too,
            in which each mitochondrion has a number of its own.
    """

    shape: list[int]
    seed: int
    # Younger than descriptions that people have.
    touching: int = 0


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
        annotated: number of training slices that are used, over all volumes; None for all.
        context: slices on each side of a slice that a network sees with it.
        fold: number of the fold that is tested, from 0; None for the splits of the volumes.
        folds: how many folds there are.
        guard: slices on each side of a tested one that no training and no validation of a fold
            sees.
    """

    name: str
    root: str
    classes: dict[str, ClassDescription]
    background: BackgroundDescription
    ignore: int | None
    intensity: IntensityDescription
    volumes: list[VolumeDescription]
    phantom: PhantomDescription | None
    # Younger than descriptions that people have.
    annotated: int | None = None
    context: int = 0
    fold: int | None = None
    folds: int | None = None
    guard: int = 1


def class_names(description: DataDescription) -> list[str]:
    """List the class names in the order of the class indices, background first."""
    return ["background", *description.classes]


def instance_classes(description: DataDescription) -> list[str]:
    """List the names of the classes whose objects are told apart, in the order of their indices."""
    return [name for name, entry in description.classes.items() if entry.instances]


def class_weights(description: DataDescription) -> list[float]:
    """List the weights of the loss in the order of the class indices."""
    weights = [entry.weight for entry in description.classes.values()]
    return [description.background.weight, *weights]


def label_values(description: DataDescription) -> list[int]:
    """List the value in label files of each class index; the first one of the background."""
    values = [entry.label for entry in description.classes.values()]
    # A prediction writes one value for the background, whichever of them the training read.
    return [description.background.labels[0], *values]


def check_names(description: DataDescription) -> None:
    """Check the names that become parts of files, tables and pages.

    Raises:
        FibsegError: the name of the data set or of a class cannot be such a part.
    """
    require(
        Check("data.name", description.name, NAME),
        *(Check("data.classes", name, CLASS_NAME) for name in description.classes),
    )


def check_description(description: DataDescription) -> None:
    """Raise FibsegError if the description contradicts itself; opens no file."""
    _check_classes(description)
    _check_sizes(description)
    _check_label_values(description)
    _check_intensity(description.intensity)
    _check_fold(description)
    _check_instances(description)
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


def _check_sizes(description: DataDescription) -> None:
    """Check sizes of voxels and of a phantom, before anything is computed or made of them."""
    for index, volume in enumerate(description.volumes):
        if any(size > _LARGEST_VOXEL for size in volume.voxel_size):
            raise FibsegError(
                f"data.volumes[{index}].voxel_size: {volume.voxel_size} is impossible; expected "
                f"nm, {_LARGEST_VOXEL:g} at most."
            )
    if description.phantom is None:
        return
    shape = description.phantom.shape
    fits = len(shape) == 3 and min(shape) >= 1 and math.prod(shape) <= _LARGEST_PHANTOM
    if not fits:
        raise FibsegError(
            f"data.phantom.shape: {brief(shape)} is impossible; expected [z, y, x], each 1 or "
            f"more, and {_LARGEST_PHANTOM / 1e9:g} billion voxels at most."
        )
    if not 0 <= description.phantom.seed < 2**63:
        raise FibsegError(
            f"data.phantom.seed: {brief(description.phantom.seed)} is impossible; expected 0 or "
            "more, below 2^63."
        )
    if not 0 <= description.phantom.touching <= _MOST_TOUCHING:
        raise FibsegError(
            f"data.phantom.touching: {brief(description.phantom.touching)} is impossible; expected "
            f"0 to {_MOST_TOUCHING} pairs."
        )


def _check_label_values(description: DataDescription) -> None:
    values = [entry.label for entry in description.classes.values()]
    values += description.background.labels
    if description.ignore is not None:
        values.append(description.ignore)
    # Of the types that label files have.
    outside = [value for value in values if not -(2**63) <= value < 2**64]
    if outside:
        raise FibsegError(f"data: label value {outside[0]} is larger than 64 bits can hold.")
    # A value of two meanings would become whichever class is filled in last.
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise FibsegError(
            f"data: label value {repeated[0]} is claimed twice; every value means one thing."
        )


def _check_instances(description: DataDescription) -> None:
    """Check that objects are given for classes that have them."""
    known = instance_classes(description)
    for index, volume in enumerate(description.volumes):
        if volume.instances is not None and not known:
            raise FibsegError(
                f"data.volumes[{index}].instances: given, but no class has objects; say so by "
                "instances: true beside its label in data.classes."
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


def _check_fold(description: DataDescription) -> None:
    fold = description.fold
    folds = description.folds
    # One block is tested, one validates, and one at least trains.
    if folds is not None and folds < _FEWEST_FOLDS:
        raise FibsegError(f"data.folds: {folds} is impossible; expected {_FEWEST_FOLDS} or more.")
    if fold is not None and folds is None:
        raise FibsegError(f"data.fold: {fold} of how many? Give data.folds, too.")
    if fold is not None and folds is not None and not 0 <= fold < folds:
        raise FibsegError(f"data.fold: {fold} is impossible; expected 0 to {folds - 1}.")
    if description.guard < 0:
        raise FibsegError(f"data.guard: {description.guard} is impossible; expected 0 or more.")
