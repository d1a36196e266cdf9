"""Scores of one label stack against another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fibseg.arrays import IGNORE, Pixels, Place, UInt8
from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    check_description,
    class_names,
)
from fibseg.data.labels.classes import to_classes
from fibseg.data.labels.files import whole_numbers_of
from fibseg.data.labels.pairing import (
    Placement,
    check_same_voxels,
    missing_offset,
    offset_of_labels,
    place_labels,
)
from fibseg.data.labels.reviewed import Reviewed
from fibseg.errors import FibsegError
from fibseg.scores.slices import ClassScore, score_slices, summarise
from fibseg.stack import Stack, part_of


def score_stacks(
    prediction: Stack,
    labels: Stack,
    description: DataDescription | None = None,
    slices: Sequence[int] | None = None,
    offset: Sequence[int] | None = None,
    names: Mapping[int, str] | None = None,
    reviewed: Reviewed | None = None,
) -> list[ClassScore]:
    """Score a prediction against labels, slice by slice: F1 and components.

    Args:
        prediction: label values of a prediction, or of another person.
        labels: label values that are taken as the truth.
        description: says which value is which class. Without it, every value but 0, 255 and
            negative ones is a class.
        slices: of `labels` that are compared; without them, all, or all that are reviewed.
        offset: (z, y, x) in pixels where `labels` lie in `prediction`, if they are smaller and
            neither names of slices nor places in the files say it.
        names: label value -> class name, used without a description.
        reviewed: where `labels` are compared, in their pixels; None for everywhere.

    Returns:
        An entry per class, without the background.

    Raises:
        FibsegError: the stacks differ in shape, a value is claimed by no class, or there is nothing
            to score.
    """
    pair = pair_stacks(prediction, labels, slices, offset, reviewed=reviewed)
    if description is None:
        description = describe_pair(pair, names or {})
    check_description(description)
    class_list = class_names(description)
    truth = ClassSlices(pair.labels, description, reviewed)
    predicted_classes = ClassSlices(pair.prediction, description)
    # Generators, so that one slice of each stack is in memory at a time.
    split_score = score_slices(
        [Place(0, z) for z in pair.positions],
        map(truth.read, pair.positions),
        (predicted_classes.read(pair.slice_of[z]) for z in pair.positions),
        len(class_list),
    )
    check_comparable(truth, predicted_classes)
    return summarise(split_score, class_list)


@dataclass(frozen=True)
class StackPair:
    """Two label stacks, the first cut to the second in y and x.

    Attributes:
        prediction: label values, or ids of objects.
        labels: those that are taken as the truth.
        slice_of: slice of the labels -> slice of the prediction.
        positions: slices of the labels that are compared.
        reviewed: where they are compared, in pixels of the labels; None for everywhere.
    """

    prediction: Stack
    labels: Stack
    slice_of: Mapping[int, int]
    positions: Sequence[int]
    reviewed: Reviewed | None


def pair_stacks(
    prediction: Stack,
    labels: Stack,
    slices: Sequence[int] | None,
    offset: Sequence[int] | None,
    reviewed: Reviewed | None,
) -> StackPair:
    """Find what is compared with what; the arguments are those of `score_stacks`.

    Args:
        prediction: that is scored.
        labels: the truth.
        slices: of `labels`; None for all, or all that are reviewed.
        offset: (z, y, x) in pixels where `labels` lie in `prediction`.
        reviewed: where `labels` are compared.

    Raises:
        FibsegError: the stacks differ in shape, or nobody says where the labels lie.
    """
    labels = whole_numbers_of(labels)
    prediction, slice_of = _paired(whole_numbers_of(prediction), labels, offset)
    # Slices are counted in `labels`, which may be a part of the prediction's stack.
    every = range(labels.shape[0]) if reviewed is None else reviewed.slices
    positions = every if slices is None else slices
    return StackPair(prediction, labels, slice_of, positions, reviewed=reviewed)


def describe_pair(pair: StackPair, names: Mapping[int, str]) -> DataDescription:
    """Describe two stacks of classes by their values; see `describe_labels`."""
    reviewed = pair.reviewed
    label_slices = (_within(pair.labels.read(z), reviewed, z) for z in pair.positions)
    predicted_slices = (
        _within(pair.prediction.read(pair.slice_of[z]), reviewed, z) for z in pair.positions
    )
    return describe_labels(chain(label_slices, predicted_slices), names)


def _within(values: Pixels, reviewed: Reviewed | None, z: int) -> Pixels:
    """The values (n,) of a slice (H, W) that count."""
    return values.ravel() if reviewed is None else values[reviewed.read(z)]


class ClassSlices:
    """Reads slices of a label stack as class indices, and notes which indices occur."""

    def __init__(
        self, stack: Stack, description: DataDescription, reviewed: Reviewed | None = None
    ):
        """Read nothing yet; the arguments are those of `score_stacks`."""
        self._stack = stack
        self._description = description
        self._reviewed = reviewed
        self.indices = set[int]()

    def read(self, z: int) -> UInt8:
        """Read the class indices (H, W) of a slice."""
        where = f"{self._stack.name}, slice {z}"
        region = None if self._reviewed is None else self._reviewed.read(z)
        classes = to_classes(self._stack.read(z), self._description, where, region)
        self.indices.update(np.unique(classes).tolist())
        return classes

    def check_holds_a_class(self) -> None:
        """Raise FibsegError where the slices that were read hold no class."""
        if self.indices - {0, IGNORE}:
            return
        name = self._stack.name
        ignore = self._description.ignore
        if IGNORE in self.indices:
            raise FibsegError(
                f"{name}: nothing but background and {ignore} in these slices, and {ignore} means "
                f"unannotated; there is nothing to score. If it is a class, import it first: "
                f"fibseg import {name} labels.tif --class NAME={ignore}"
            )
        raise FibsegError(
            f"{name}: no pixel of any class in these slices; there is nothing to score."
        )


def check_comparable(truth: ClassSlices, prediction: ClassSlices) -> None:
    """Raise FibsegError where the slices that were read have nothing to score."""
    truth.check_holds_a_class()
    # A prediction without any class is a bad one; where all of it is ignored, it is none.
    if IGNORE in prediction.indices:
        prediction.check_holds_a_class()


def _paired(
    prediction: Stack, labels: Stack, offset: Sequence[int] | None
) -> tuple[Stack, dict[int, int]]:
    """Cut the prediction to the labels, and find its slice for each slice of the labels."""
    check_same_voxels(prediction, labels)
    start = offset_of_labels(prediction, labels) if offset is None else offset
    if start is None and labels.slice_numbers is not None:
        raise missing_offset(prediction, labels)
    if start is None:
        raise FibsegError(
            f"{prediction.name} is {prediction.shape}, {labels.name} is {labels.shape}; "
            "they must have one shape, or say where the second lies in the first with "
            "--offset z,y,x."
        )
    placement: Placement = place_labels(prediction, labels, start)
    if offset is not None and not placement.note:
        # The offset cuts the prediction, since annotation usually covers a part of a stack.
        part = part_of(prediction, offset, labels.shape)
        return part, {page: page for page in range(labels.shape[0])}
    depth = prediction.shape[0]
    plane = part_of(prediction, [0, *start[1:]], (depth, *labels.shape[1:]))
    return plane, {page: z for z, page in placement.pages.items()}


def agreed_names(
    named: Mapping[str, Mapping[int, str] | None], description: DataDescription | None
) -> tuple[dict[int, str], list[str]]:
    """Bring class names of several files together: label value -> name, and doubts.

    `named` has the names of each file by its path, None where it has none.

    Raises:
        FibsegError: files give a value two names, or the numbers of a description are others.
    """
    sources = {path: names for path, names in named.items() if names}
    if description is not None:
        classes = {entry.label: name for name, entry in description.classes.items()}
        sources = {"the data description": classes} | sources
    agreed: dict[int, str] = {}
    doubts = []
    for path, names in sources.items():
        for value, name in names.items():
            known = agreed.setdefault(value, name)
            moved = next((v for v, n in agreed.items() if n == name and v != value), None)
            if known == name and moved is None:
                continue
            text = (
                f"{path}: value {value} is {name}, but {known} in {next(iter(sources))}"
                if moved is None
                else f"{path}: class {name} has the value {value}, and {moved} in "
                f"{next(iter(sources))}"
            )
            # A person who gives a description may call a class by another name.
            if description is None or moved is not None:
                raise FibsegError(
                    f"{text}; bring both to one numbering by fibseg import --class "
                    f"{name}={value}, or name the values by a description (--data)."
                )
            doubts.append(f"{text}.")
    return agreed, doubts


def describe_labels(
    slices: Iterable[Pixels], names: Mapping[int, str] | None = None
) -> DataDescription:
    """Describe label files alone: every value but 0, 255 and negative ones is a class.

    Args:
        slices: label values of any shape, read once.
        names: label value -> class name; a class without one is named by its value.

    Raises:
        FibsegError: there is no such value, or several that mean unannotated.
    """
    values = set[int]()
    for labels in slices:
        values.update(np.unique(labels).tolist())
    # 0 is the background; 255 means unannotated after `fibseg import`, as do negative values of
    # other programs.
    unannotated = sorted(value for value in values if value < 0 or value == IGNORE)
    classes = sorted(values - {0, *unannotated})
    if not classes:
        held = " and ".join(map(str, sorted({0, *unannotated})))
        hint = (
            f"; if {IGNORE} is a class, import both first: fibseg import FILE labels.tif "
            f"--class NAME={IGNORE}"
        )
        raise FibsegError(
            f"both stacks hold nothing but {held} in these slices; there is nothing to score"
            f"{hint if IGNORE in values else '.'}"
        )
    if len(unannotated) > 1:
        raise FibsegError(
            f"the labels hold {unannotated[0]} and {unannotated[1]}, which both mean unannotated "
            "without a name; make them one by fibseg import --unlabelled."
        )
    named = names or {}
    description = DataDescription(
        name="labels",
        root=".",
        classes={named.get(value, str(value)): ClassDescription(value, 1.0) for value in classes},
        background=BackgroundDescription([0], 1.0),
        ignore=unannotated[0] if unannotated else IGNORE,
        intensity=IntensityDescription(0.0, 100.0),
        volumes=[],
        phantom=None,
    )
    check_description(description)
    return description
