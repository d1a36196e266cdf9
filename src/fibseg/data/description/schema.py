"""The schema of conf/data/*.yaml, and what follows from it alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
