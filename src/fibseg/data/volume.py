"""One volume of a data description: image, labels and mask, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Mask, Pixels, Place, UInt8
from fibseg.data.description import DataDescription, VolumeDescription
from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.labels.classes import to_classes
from fibseg.data.labels.files import is_prediction, name_doubts, open_label_stack
from fibseg.data.labels.instances import ObjectNumbers, open_objects
from fibseg.data.labels.pairing import Placement, check_order, place_labels
from fibseg.data.labels.reviewed import open_reviewed
from fibseg.errors import FibsegError
from fibseg.stack import (
    Stack,
    check_depth,
    located,
    open_stack,
    read_finite,
    read_neighbours,
)


@dataclass(frozen=True)
class AnnotatedSlice:
    """One slice and its annotation.

    Attributes:
        volume: index of the volume in the description.
        z: slice of the image.
        image: (H, W), as in the file.
        labels: (H, W) uint8 class indices, IGNORE where the slice is unannotated.
        in_mask: (H, W), whether a pixel belongs to the tissue; None where there is no mask.
        neighbours: images (H, W) around the slice, as `Stack.neighbours` orders them.
        objects: (H, W) number of each pixel's object in the volume, 0 for none, UNKNOWN where a
            class that has objects has a pixel of none; None where no class has objects.
    """

    volume: int
    z: int
    image: Pixels
    labels: UInt8
    in_mask: Mask | None = None
    neighbours: Sequence[Pixels] = ()
    objects: ObjectNumbers | None = None

    def pictures(self, grey_range: GreyRange) -> UInt8:
        """Give the slice and its neighbours in 8 bits, (1 + neighbours, H, W)."""
        return np.stack([to_8bit(image, grey_range) for image in (self.image, *self.neighbours)])

    @property
    def place(self) -> Place:
        """Where the slice lies."""
        return Place(self.volume, self.z)

    @property
    def grey_values(self) -> Pixels:
        """Pixels that a grey range is made of: (H, W), or (n,) of those that no mask hides."""
        # What a mask hides is padding or resin, and would take grey levels from the tissue.
        return self.image if self.in_mask is None else self.image[self.in_mask]


class VolumeReader:
    """Image, labels and mask of one volume.

    Attributes:
        image: the stack.
        annotated: slices of the image that the labels cover, in order.
        reviewed: where a person has looked; None where the labels say it.
        notes: sentences on what was decided by the files.
        doubts: sentences on what is odd in the files, and on what they contradict.
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
        check_depth(self.image, description.context)
        paths = self._label_paths(volume.labels if labels is None else labels, where)
        self._labels = _open_labels(paths, where)
        self._mask = self._open_mask(volume, where)
        self.reviewed = None
        # It says where the first expert has looked, not another person.
        if volume.reviewed is not None and labels is None:
            self.reviewed = open_reviewed(
                value=volume.reviewed,
                root=description.root,
                shape=self.image.shape,
                where=f"{where}.reviewed",
            )
        shape = next(iter(self._labels.values())).shape
        if labels is None:
            placement = self._placement(where)
        else:
            # The pages of a second expert are placed by its list of slices, not by the offset in z.
            placement = Placement({page: page for page in range(shape[0])})
        is_placed = labels is not None or placement.note
        self._check_inside(shape, "yx" if is_placed else "zyx", where)
        self._page_of = placement.pages
        self.annotated = placement.slices
        # A second expert says nothing of objects.
        self._objects = None
        if labels is None:
            self._objects = open_objects(
                description=description,
                index=index,
                shape=shape,
                classes_of=lambda z: self._read_labels(z, self._page_of[z])[0],
                slices=self.annotated,
            )
        self.notes = [placement.note] if placement.note else []
        self.doubts = [*self.image.doubts, *placement.doubts]
        self.doubts += self._mask.doubts if self._mask else ()
        self.doubts += _label_doubts(description, paths)

    def read(self, z: int, page: int | None = None) -> AnnotatedSlice:
        """Read a slice of the image with its class indices.

        Pixels outside the labels, the mask and the reviewed region become IGNORE. `page` is the
        page of the labels; without it, the one that lies at `z`.
        """
        image = read_finite(self.image, z)
        if page is None and z not in self._page_of:
            raise FibsegError(f"{self.image.name}, slice {z}: there are no labels of it.")
        page = self._page_of[z] if page is None else page
        labels, in_mask = self._read_labels(z, page)
        objects = None
        if self._objects is not None:
            objects = self._objects.read(z, labels, page, self._covered)
        return AnnotatedSlice(self._index, z, image, labels, in_mask=in_mask, objects=objects)

    @property
    def _covered(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the labels cover."""
        height, width = next(iter(self._labels.values())).shape[1:]
        _, y, x = self._offset
        return slice(y, y + height), slice(x, x + width)

    def _read_labels(self, z: int, page: int) -> tuple[UInt8, Mask | None]:
        """Read the class indices (H, W) of a slice of the image, and the mask of the tissue."""
        region = None if self.reviewed is None else self.reviewed.read(z)[self._covered]
        # Labels may cover a part of the image; nothing is known about the rest.
        labels = np.full(self.image.shape[1:], IGNORE, np.uint8)
        labels[self._covered] = self._read_classes(page, region)
        if self._mask is None:
            return labels, None
        # The mask has the shape of the image, not that of the labels.
        in_mask = self._mask.read(z) != 0
        labels[~in_mask] = IGNORE
        return labels, in_mask

    def with_neighbours(self, annotated: AnnotatedSlice) -> AnnotatedSlice:
        """Add the images around a slice, as far as `data.context` reaches."""
        context = self._description.context
        return replace(annotated, neighbours=read_neighbours(self.image, annotated.z, context))

    def check_pages(self, positions: Sequence[int]) -> None:
        """Raise FibsegError where names say that a page is of another slice than of its position.

        `positions` are the slices of the image of each page.
        """
        for labels in self._labels.values():
            check_order(self.image, labels, positions)

    def _label_paths(self, labels: Any, where: str) -> dict[str, str]:
        """Locate class -> mask, or "" -> integer labels."""
        # One file of integers and a file for each class are read alike from here on.
        paths = {"": labels} if isinstance(labels, str) else labels
        if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
            raise FibsegError(
                f"{where}.labels: {labels}; expected a path, or one per class: {{er: er.tif}}."
            )
        unknown = [name for name in paths if name and name not in self._description.classes]
        if unknown:
            raise FibsegError(f"{where}.labels: {unknown[0]} is none of data.classes.")
        return {name: located(self._description.root, path) for name, path in paths.items()}

    def _placement(self, where: str) -> Placement:
        """Place the labels in the image; masks of several classes have to be of the same slices."""
        placements = [
            place_labels(self.image, labels, self._offset) for labels in self._labels.values()
        ]
        if any(placement.pages != placements[0].pages for placement in placements):
            raise FibsegError(
                f"{where}.labels: by the numbers in their names the masks are of different slices."
            )
        doubts = dict.fromkeys(doubt for placement in placements for doubt in placement.doubts)
        return replace(placements[0], doubts=tuple(doubts))

    def _open_mask(self, volume: VolumeDescription, where: str) -> Stack | None:
        if volume.mask is None:
            return None
        mask = open_stack(located(self._description.root, volume.mask))
        if mask.shape != self.image.shape:
            raise FibsegError(
                f"{where}.mask: shape {mask.shape}, but the image is {self.image.shape}."
            )
        check_order(self.image, mask, range(mask.shape[0]))
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

    def _read_classes(self, page: int, region: Mask | None) -> UInt8:
        """Read the class indices (H, W) of a page of the labels; IGNORE outside the region."""
        if "" in self._labels:
            stack = self._labels[""]
            where = f"{stack.name}, slice {page}"
            return to_classes(stack.read(page), self._description, where, region)
        names = list(self._description.classes)
        first_mask = next(iter(self._labels.values()))
        labels = np.zeros(first_mask.shape[1:], np.uint8)
        # Where masks overlap, the class that stands first in the description wins.
        for name in reversed(names):
            if name in self._labels:
                labels[self._labels[name].read(page) != 0] = names.index(name) + 1
        if region is not None:
            labels[~region] = IGNORE
        return labels


def _open_labels(paths: Mapping[str, str], where: str) -> dict[str, Stack]:
    """Open class -> mask, or "" -> integer labels."""
    stacks = {name: open_label_stack(path) for name, path in paths.items()}
    if len({stack.shape for stack in stacks.values()}) != 1:
        raise FibsegError(f"{where}.labels: the masks differ in shape, or there is none.")
    return stacks


def _label_doubts(description: DataDescription, paths: Mapping[str, str]) -> list[str]:
    """Say which of the label files are predictions, and which call a class by another name."""
    doubts = [
        f"{path}: a prediction of fibseg; only slices that a person has corrected may be in a "
        "split."
        for path in paths.values()
        if is_prediction(path)
    ]
    # A mask has the name of its class in the description alone.
    names = {entry.label: name for name, entry in description.classes.items()}
    return doubts + (name_doubts(paths[""], names) if "" in paths else [])


def _check_numbers(volume: VolumeDescription, where: str) -> None:
    if (
        len(volume.offset) != 3
        or len(volume.voxel_size) != 3
        or not all(size > 0 for size in volume.voxel_size)
    ):
        raise FibsegError(
            f"{where}: offset and voxel_size are three numbers (z, y, x); sizes are in nm, above 0."
        )


def read_places(description: DataDescription, places: Iterable[Place]) -> Iterator[AnnotatedSlice]:
    """Read some slices of a data set one after the other; each volume is opened once."""
    readers: dict[int, VolumeReader] = {}
    for volume, z in places:
        if volume not in readers:
            readers[volume] = VolumeReader(description, volume)
        yield readers[volume].read(z)
