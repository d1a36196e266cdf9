"""Label stacks of another program, read as class indices of the slices that are scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from fibseg.arrays import IGNORE, UInt8
from fibseg.data.description import DataDescription, VolumeDescription
from fibseg.data.labels.classes import to_classes
from fibseg.data.labels.files import name_doubts, open_label_stack
from fibseg.data.labels.pairing import place_labels, slice_list
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.machine import print_warnings
from fibseg.runs.results import SCORED_SPLITS
from fibseg.stack import located, open_stack


def adopted_labels(
    predictions: Sequence[str],
    description: DataDescription,
    slices: Mapping[str, Sequence[AnnotatedSlice]],
) -> dict[str, list[UInt8]]:
    """The adopted labels of the scored slices as class indices (H, W), by split.

    They are IGNORE outside the stack.

    Raises:
        FibsegError: a stack does not hold a slice, or leaves an annotated pixel without class.
    """
    return {
        split: [_slice_labels(predictions, description, annotated) for annotated in slices[split]]
        for split in SCORED_SPLITS
    }


def _slice_labels(
    predictions: Sequence[str], description: DataDescription, annotated: AnnotatedSlice
) -> UInt8:
    path = predictions[annotated.volume]
    volume = description.volumes[annotated.volume]
    image = open_stack(located(description.root, volume.image))
    labels = open_label_stack(path)
    offset = _offset(volume, image.shape, labels.shape)
    placement = place_labels(image, labels, offset)
    if annotated.z not in placement.pages:
        raise FibsegError(
            f"{path}: has no labels of slice {annotated.z}, which is scored; it holds slices "
            f"{slice_list(placement.slices)}."
        )
    _, top, left = offset
    _, height, width = labels.shape
    if top + height > image.shape[1] or left + width > image.shape[2]:
        raise FibsegError(
            f"{path}: of shape {labels.shape}, but the image has {image.shape} and its labels "
            f"begin at {offset}; expected labels of one of the two."
        )
    page = placement.pages[annotated.z]
    classes = np.full(image.shape[1:], IGNORE, np.uint8)
    place = (slice(top, top + height), slice(left, left + width))
    classes[place] = to_classes(labels.read(page), description, f"{path}, slice {page}")
    undecided = int(((classes == IGNORE) & (annotated.labels != IGNORE)).sum())
    # They would not be counted, and the score would be that of the easy pixels.
    if undecided:
        raise FibsegError(
            f"{path}, slice {page}: {undecided} annotated pixels without a class (outside, or "
            f"{description.ignore}); a prediction labels every pixel."
        )
    return classes


def _offset(volume: VolumeDescription, image: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Where adopted labels lie: on the whole image, or where the data set's own labels lie."""
    return [0, 0, 0] if tuple(image) == tuple(labels) else list(volume.offset)


def warn_of_names(
    predictions: Sequence[str], description: DataDescription, console: Console
) -> None:
    """Warn where a label file calls a value by another name than the data set."""
    names = {entry.label: name for name, entry in description.classes.items()}
    for path in predictions:
        print_warnings(console, name_doubts(path, names))


def scored_digest(labels: Mapping[str, Sequence[UInt8]]) -> str:
    """Hash adopted labels, as far as they are scored."""
    digest = hashlib.sha256()
    for split, of_split in labels.items():
        for classes in of_split:
            digest.update(f"{split} {classes.shape}".encode())
            digest.update(classes.tobytes())
    return digest.hexdigest()[:16]
