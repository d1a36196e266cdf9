"""One volume of a data description: image, labels and mask, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Pixels, Place, UInt8
from fibseg.data.description import DataDescription, VolumeDescription
from fibseg.errors import FibsegError
from fibseg.stack import Stack, located, open_stack, read_finite


@dataclass(frozen=True)
class AnnotatedSlice:
    """One slice and its annotation.

    Attributes:
        volume: index of the volume in the description.
        z: slice of the image.
        image: (H, W), as in the file.
        labels: (H, W) uint8 class indices, IGNORE where the slice is unannotated.
    """

    volume: int
    z: int
    image: Pixels
    labels: UInt8

    @property
    def place(self) -> Place:
        """Where the slice lies."""
        return Place(self.volume, self.z)


class VolumeReader:
    """Image, labels and mask of one volume.

    Attributes:
        image: the stack.
        annotated: slices of the image, [start, stop), that the labels cover.
    """

    def __init__(self, description: DataDescription, index: int, labels: Any = None):
        """Open the files of a volume.

        Args:
            description: the data description.
            index: of the volume in the description.
            labels: path or paths that replace the volume's own labels. They are a second expert's,
                whose pages need not follow each other in z.

        Raises:
            FibsegError: the files contradict the description or each other.
        """
        volume = description.volumes[index]
        where = f"data.volumes[{index}]"
        _check_numbers(volume, where)
        self._description = description
        self._index = index
        self._offset = volume.offset
        self.image = open_stack(located(description.root, volume.image))
        self._labels = self._open_labels(volume.labels if labels is None else labels, where)
        self._mask = self._open_mask(volume, where)
        shape = next(iter(self._labels.values())).shape
        # The pages of a second expert are placed by its list of slices, not by the offset in z.
        self._check_inside(shape, "zyx" if labels is None else "yx", where)
        self.annotated = (volume.offset[0], volume.offset[0] + shape[0])

    def read(self, z: int, page: int | None = None) -> AnnotatedSlice:
        """Read a slice of the image with its class indices.

        Pixels outside the labels and outside the mask become IGNORE. `page` is the page of the
        labels; without it, the one that lies at `z`.
        """
        image = read_finite(self.image, z)
        page = z - self._offset[0] if page is None else page
        classes = self._read_classes(page)
        # Labels may cover a part of the image; nothing is known about the rest.
        labels = np.full(image.shape, IGNORE, np.uint8)
        _, y, x = self._offset
        labels[y : y + classes.shape[0], x : x + classes.shape[1]] = classes
        if self._mask is not None:
            # The mask has the shape of the image, not that of the labels.
            labels[self._mask.read(z) == 0] = IGNORE
        return AnnotatedSlice(self._index, z, image, labels)

    def _open_labels(self, labels: Any, where: str) -> dict[str, Stack]:
        """Open class -> mask, or "" -> integer labels."""
        # One file of integers and a file for each class are read alike from here on.
        paths = {"": labels} if isinstance(labels, str) else labels
        if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
            raise FibsegError(
                f"{where}.labels: {labels}; expected a path, or one per class: {{er: er.tif}}."
            )
        unknown = [name for name in paths if name and name not in self._description.classes]
        if unknown:
            raise FibsegError(f"{where}.labels: {unknown[0]} is none of data.classes.")
        root = self._description.root
        stacks = {name: open_stack(located(root, path)) for name, path in paths.items()}
        for stack in stacks.values():
            if stack.dtype.kind not in "uib":
                raise FibsegError(f"{stack.name}: labels of type {stack.dtype}; expected integers.")
        if len({stack.shape for stack in stacks.values()}) != 1:
            raise FibsegError(f"{where}.labels: the masks differ in shape, or there is none.")
        return stacks

    def _open_mask(self, volume: VolumeDescription, where: str) -> Stack | None:
        if volume.mask is None:
            return None
        mask = open_stack(located(self._description.root, volume.mask))
        if mask.shape != self.image.shape:
            raise FibsegError(
                f"{where}.mask: shape {mask.shape}, but the image is {self.image.shape}."
            )
        return mask

    def _check_inside(self, shape: tuple[int, int, int], axes: str, where: str) -> None:
        """Raise FibsegError where labels of this shape leave the image along one of the axes."""
        sides = zip("zyx", self._offset, shape, self.image.shape, strict=True)
        for axis, start, size, image_size in sides:
            if axis in axes and (start < 0 or start + size > image_size):
                raise FibsegError(
                    f"{where}: labels of shape {shape} at offset {list(self._offset)} lie outside "
                    f"the image {self.image.shape} along {axis}; correct offset, or the files."
                )

    def _read_classes(self, page: int) -> UInt8:
        """Read the class indices (H, W) of a page of the labels."""
        if "" in self._labels:
            stack = self._labels[""]
            return to_classes(stack.read(page), self._description, f"{stack.name}, slice {page}")
        names = list(self._description.classes)
        first_mask = next(iter(self._labels.values()))
        labels = np.zeros(first_mask.shape[1:], np.uint8)
        # Where masks overlap, the class that stands first in the description wins.
        for name in reversed(names):
            if name in self._labels:
                labels[self._labels[name].read(page) != 0] = names.index(name) + 1
        return labels


def _check_numbers(volume: VolumeDescription, where: str) -> None:
    if (
        len(volume.offset) != 3
        or len(volume.voxel_size) != 3
        or not all(size > 0 for size in volume.voxel_size)
    ):
        raise FibsegError(
            f"{where}: offset and voxel_size are three numbers (z, y, x); sizes are in nm, above 0."
        )


def to_classes(labels: Pixels, description: DataDescription, where: str) -> UInt8:
    """Turn label values (H, W) into class indices (H, W) uint8.

    `where` names the slice in messages.

    Raises:
        FibsegError: a value is claimed by no class.
    """
    index_of = dict.fromkeys(description.background.labels, 0)
    for index, class_description in enumerate(description.classes.values(), 1):
        index_of[class_description.label] = index
    if description.ignore is not None:
        index_of[description.ignore] = IGNORE
    classes = np.empty(labels.shape, np.uint8)
    # A pass per value, since a slice has few values, and a table of 32-bit labels is too long.
    for value in np.unique(labels).tolist():
        if value not in index_of:
            raise FibsegError(
                f"{where}: label value {value} is claimed by no class; "
                "add it to data.classes, data.background.labels or data.ignore."
            )
        classes[labels == value] = index_of[value]
    return classes


def read_places(description: DataDescription, places: Iterable[Place]) -> Iterator[AnnotatedSlice]:
    """Read some slices of a data set one after the other; each volume is opened once."""
    readers: dict[int, VolumeReader] = {}
    for volume, z in places:
        if volume not in readers:
            readers[volume] = VolumeReader(description, volume)
        yield readers[volume].read(z)


def image_location(description: DataDescription, volume: int) -> str:
    """Locate a volume's image: the same text, however the description writes its path."""
    path = located(description.root, description.volumes[volume].image)
    # Links are followed, so that one file under two names is one image.
    return path if "://" in path else str(Path(path).resolve())
