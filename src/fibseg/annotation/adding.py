"""Labels that a person painted or corrected in another program, taken into a project."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fibseg.annotation.project import AnnotationProject
from fibseg.arrays import IGNORE, UInt8
from fibseg.data.labels.files import is_prediction, label_notes, open_labels
from fibseg.data.labels.importing import ImportPlan, LabelMeaning, class_numbers_of, plan_import
from fibseg.data.labels.reviewed import Reviewed
from fibseg.data.splits import split_of
from fibseg.errors import FibsegError
from fibseg.scores.label_values import noted_names
from fibseg.stack import Stack


@dataclass(frozen=True)
class AddRequest:
    """What a person says of a file of labels.

    Attributes:
        path: of the labels.
        slices: pages that are taken; None for those that differ from what was proposed, or, where
            nothing was proposed, that hold a class.
        values: class -> its values in the file; without it, the values are class indices.
        offset: (z, y, x) in pixels where the labels start in the image.
        reviewed: where the person has looked, in pixels of the image; None for all of a slice.
        against: labels as they were before they were corrected; None for the project's proposals.
    """

    path: str
    slices: Sequence[int] | None = None
    values: Mapping[str, Sequence[int]] = field(default_factory=dict)
    offset: Sequence[int] | None = None
    reviewed: Reviewed | None = None
    against: Stack | None = None


@dataclass(frozen=True)
class Added:
    """What was taken.

    Attributes:
        slices: of the image that were taken, in order.
        same: slices that are as they were proposed or as the project has them, and are left.
        empty: slices without a class that nobody is known to have emptied, which are left.
        judging: slices among the taken ones that are not trained on -> their split.
        doubts: sentences on what is odd in the file.
    """

    slices: list[int]
    same: list[int]
    empty: list[int]
    judging: dict[int, str]
    doubts: list[str]


def add_labels(project: AnnotationProject, request: AddRequest) -> Added:
    """Take slices of a label file into a project, as reviewed.

    Raises:
        FibsegError: a value is no class of the project, the labels do not fit the image, or the
            file is a prediction and nothing says what a person changed.
    """
    source = open_labels(request.path)
    if request.against is not None and request.against.shape != project.image.shape:
        raise FibsegError(
            f"{request.against.name}: is of shape {request.against.shape}, but the image of "
            f"{project.image.shape}."
        )
    plan = plan_import(project.image, source.stack, request.offset, request.slices)
    numbers = _meaning(project, request).numbers()
    for value in source.unlabelled:
        numbers[value] = IGNORE
    exported = (label_notes(request.path) or {}).get("proposed", {})
    result = Added(slices=[], same=[], empty=[], judging={}, doubts=list(plan.doubts))
    taken = []
    # All of them are read first: a value without a class must not leave half a file behind.
    for z, page in _pages(plan):
        labels = _class_indices(source.stack, page, numbers, project)
        before: UInt8 | None
        if request.against is not None:
            before = _class_indices(request.against, z, numbers, project)[_box(plan, labels.shape)]
        else:
            before = _proposed(project, exported, z=z, labels=labels, plan=plan)
        # Nothing says that a person emptied the slice: the file may be older than the proposal.
        was_seen = request.against is not None or str(z) in exported
        if request.slices is None and before is not None and np.array_equal(before, labels):
            result.same.append(z)
        elif request.slices is None and not was_seen and not (labels % IGNORE).any():
            result.empty.append(z)
        else:
            taken.append((z, labels))
            _check_is_corrected(request, before)
    for z, labels in taken:
        if not _add_slice(project, request, plan=plan, z=z, labels=labels):
            result.same.append(z)
            continue
        result.slices.append(z)
        split = split_of(project.state.splits, z)
        if split in ("validation", "test"):
            result.judging[z] = split
    return result


def _proposed(
    project: AnnotationProject,
    exported: Mapping[str, str],
    z: int,
    labels: UInt8,
    plan: ImportPlan,
) -> UInt8 | None:
    """Class indices (h, w) that were proposed where a file has `labels`; None for nothing."""
    # Proposed anew since the file was written: what it was stands in the file's notes.
    if exported.get(str(z)) == labels_digest(labels):
        return labels
    proposal = project.layers.proposed(z)
    return None if proposal is None else proposal[_box(plan, labels.shape)]


def labels_digest(labels: UInt8) -> str:
    """Hash the class indices (h, w) of a slice, to see whether a person has changed them."""
    return hashlib.sha256(f"{labels.shape}".encode() + labels.tobytes()).hexdigest()[:16]


def _pages(plan: ImportPlan) -> list[tuple[int, int]]:
    """Slice of the image and page of the labels, of each page that is taken."""
    first = plan.offset[0]
    return [(first + k, page) for k, page in enumerate(plan.pages) if page is not None]


def _meaning(project: AnnotationProject, request: AddRequest) -> LabelMeaning:
    """Which value is which class: as the person says, as the file does, or class indices."""
    names = project.state.classes
    values: dict[str, list[int]] = {name: [index] for index, name in enumerate(names, 1)}
    noted = noted_names(label_notes(request.path))
    if noted:
        values = {name: [] for name in names}
        for value, name in noted.items():
            values.setdefault(name, []).append(value)
    if request.values:
        values = {name: [] for name in names} | {k: list(v) for k, v in request.values.items()}
    values.pop("background", None)
    unknown = [name for name in values if name not in names]
    if unknown:
        raise FibsegError(
            f"{request.path}: {unknown[0]} is no class of the project, which has "
            f"{', '.join(names)}; add it by --class {unknown[0]}, or name the values of the file "
            "by --class CLASS=VALUE."
        )
    return LabelMeaning(values, background=[], unlabelled=[], empty_is_unlabelled=False)


def _class_indices(
    stack: Stack, page: int, numbers: Mapping[int, int], project: AnnotationProject
) -> UInt8:
    """Class indices (h, w) of a page."""
    indices, values = class_numbers_of(stack.read(page), numbers)
    unknown = [value for value in values if value not in numbers]
    if unknown:
        known = ", ".join(f"{k} {name}" for k, name in enumerate(project.state.classes, 1))
        raise FibsegError(
            f"{stack.name}, slice {page}: value {unknown[0]} is no class of the project ({known}, "
            f"{IGNORE} unsure); say what it means by --class CLASS={unknown[0]}."
        )
    return indices


def _box(plan: ImportPlan, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the image that the labels (h, w) cover."""
    y, x = plan.offset[1:]
    return slice(y, y + shape[0]), slice(x, x + shape[1])


def _check_is_corrected(request: AddRequest, before: UInt8 | None) -> None:
    """Refuse a network's own output as truth."""
    is_corrected = request.slices is not None or request.reviewed is not None or before is not None
    if is_prediction(request.path) and not is_corrected:
        raise FibsegError(
            f"{request.path}: a prediction of fibseg, and nothing says which slices a person has "
            "corrected; give --slices 8,15, or the file as it was before by --against FILE."
        )


def _add_slice(
    project: AnnotationProject, request: AddRequest, plan: ImportPlan, z: int, labels: UInt8
) -> bool:
    """Paint the labels (h, w) of a slice; gives whether anything differed."""
    box = _box(plan, labels.shape)
    region = np.zeros(project.image.shape[1:], bool)
    region[box] = True
    if request.reviewed is not None:
        region &= request.reviewed.read(z)
    new_labels = project.layers.labels(z)
    whole = np.zeros_like(new_labels)
    whole[box] = labels
    new_labels[region] = whole[region]
    return project.paint(z, new_labels, project.layers.reviewed(z) | region, "add")
