"""Checks of a data description that need no file."""

from __future__ import annotations

import math

from fibseg.arrays import IGNORE
from fibseg.data.description.schema import (
    DataDescription,
    IntensityDescription,
    class_weights,
    instance_classes,
)
from fibseg.errors import FibsegError
from fibseg.rules import CLASS_NAME, NAME, Check, brief, require

_LARGEST_VOXEL = 1e9
"""Side of a voxel in nm: a metre."""

_LARGEST_PHANTOM = 10**9
"""Voxels of a phantom, which is made in memory."""

_MOST_TOUCHING = 1000
"""Pairs of touching mitochondria, for each of which room is looked for in about a second."""

_FEWEST_FOLDS = 3


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
