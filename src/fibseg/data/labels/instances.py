"""Which object each pixel of a class belongs to: by ids of a file, or by connected components.

Ids may be any whole numbers of 0 or more, in any order: they become numbers from 1 in the order in
which objects are met, so that relabelled ids give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import Ints, UInt8
from fibseg.data.description import DataDescription, instance_classes
from fibseg.data.labels.files import open_label_stack
from fibseg.errors import FibsegError
from fibseg.rules import brief
from fibseg.scores.pieces import stitch
from fibseg.scores.slabs import ClassSlabs, LabelledSlab
from fibseg.stack import Stack, located

ObjectNumbers = NDArray[np.int32]
"""(H, W) number of each pixel's object from 1, 0 where there is none, UNKNOWN where there is one
without an id."""

UNKNOWN = -1

_SLAB_VOXELS = 2**22
"""Voxels of the class indices whose components are found at once."""


def open_objects(
    description: DataDescription,
    index: int,
    shape: tuple[int, int, int],
    classes_of: Callable[[int], UInt8],
    slices: Sequence[int],
) -> VolumeObjects | None:
    """Open the objects of a volume; None where no class has objects.

    Args:
        description: the data description.
        index: of the volume in the description.
        shape: (Z, H, W) of the labels.
        classes_of: as `VolumeObjects` has it.
        slices: likewise.

    Raises:
        FibsegError: the description gives something else than stacks of ids of this shape.
    """
    names = instance_classes(description)
    if not names:
        return None
    where = f"data.volumes[{index}].instances"
    ids = _open_ids(description.volumes[index].instances, names, description.root, where)
    for stack in ids.values():
        if stack.shape != shape:
            raise FibsegError(
                f"{where}: {stack.name} is of shape {stack.shape}, but the labels are of {shape}."
            )
    index_of = {name: i for i, name in enumerate(description.classes, 1)}
    return VolumeObjects(
        class_indices=[index_of[name] for name in names],
        ids={index_of[name]: stack for name, stack in ids.items()},
        classes_of=classes_of,
        slices=slices,
    )


def _open_ids(value: Any, classes: Sequence[str], root: str, where: str) -> dict[str, Stack]:
    """Open stacks of ids as a description has them, a path or class -> path; {} for None."""
    if value is None:
        return {}
    paths = dict.fromkeys(classes, value) if isinstance(value, str) else value
    is_mapping = isinstance(paths, Mapping)
    if not is_mapping or not all(isinstance(path, str) and path for path in paths.values()):
        raise FibsegError(
            f"{where}: {brief(value)}; expected the path of a stack of ids, or a mapping from "
            "class to such a path."
        )
    unknown = [name for name in paths if name not in classes]
    if unknown:
        raise FibsegError(f"{where}: {brief(unknown[0])} is no class of instances: true.")
    return {name: open_label_stack(located(root, path)) for name, path in paths.items()}


class VolumeObjects:
    """The objects of one volume, numbered from 1 in the order in which they are met."""

    def __init__(
        self,
        class_indices: Sequence[int],
        ids: Mapping[int, Stack],
        classes_of: Callable[[int], UInt8],
        slices: Sequence[int],
    ):
        """Open nothing; the components are found when the first slice is read.

        Args:
            class_indices: classes that have objects.
            ids: class index -> stack of its ids, of the shape of the labels; the objects of the
                other classes are connected components.
            classes_of: reads the class indices (H, W) of a slice of the image, IGNORE where
                nothing is annotated.
            slices: annotated slices of the image, in order.
        """
        self._ids = ids
        self._numbers: dict[tuple[int, int], int] = {}
        others = [index for index in class_indices if index not in ids]
        self._components = _Components(others, classes_of, slices) if others else None

    def read(self, z: int, labels: UInt8, page: int, covered: tuple[slice, slice]) -> ObjectNumbers:
        """Read the object numbers (H, W) of a slice of the image.

        Args:
            z: the slice.
            labels: its class indices (H, W), as they are annotated.
            page: of the ids, for this slice.
            covered: rows and columns of the image that the ids cover.

        Raises:
            FibsegError: an id is negative.
        """
        objects = np.zeros(labels.shape, np.int32)
        for index, stack in self._ids.items():
            ids = np.zeros(labels.shape, stack.dtype)
            ids[covered] = stack.read(page)
            inside = labels == index
            if stack.dtype.kind == "i" and (ids[inside] < 0).any():
                lowest = ids[inside].min()
                raise FibsegError(
                    f"{stack.name}, slice {page}: id {lowest}; expected 0 or more, 0 for no object."
                )
            objects[inside] = self._numbered(index, ids[inside])
        if self._components is not None:
            numbers = self._components.read(z)
            inside = (numbers > 0) & (objects == 0)
            objects[inside] = self._numbered(0, numbers[inside])
        return objects

    def _numbered(self, index: int, ids: Ints) -> ObjectNumbers:
        """Number ids (n,) of a class; 0 becomes UNKNOWN."""
        values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        numbers = np.zeros(len(values), np.int32)
        # By first pixels and not by ids, which another program may have dealt out anew.
        for position in np.argsort(first).tolist():
            key = (index, int(values[position]))
            known = self._numbers.get(key)
            if key[1] == 0:
                numbers[position] = UNKNOWN
            else:
                numbers[position] = known or len(self._numbers) + 1
                self._numbers.setdefault(key, int(numbers[position]))
        return numbers[inverse]


class _Components:
    """26-connected components of classes in a volume; a slice without annotation parts them."""

    def __init__(
        self,
        class_indices: Sequence[int],
        classes_of: Callable[[int], UInt8],
        slices: Sequence[int],
    ):
        self._table = np.zeros(256, np.uint8)
        self._table[list(class_indices)] = list(class_indices)
        self._classes_of = classes_of
        self._slices = set(slices)
        self._first = slices[0]
        height, width = classes_of(slices[0]).shape
        shape = (slices[-1] + 1 - self._first, height, width)
        self._depth = max(2, _SLAB_VOXELS // (height * width))
        self._shape = shape
        slabs = ClassSlabs(self._read_classes, shape, self._depth)
        self._bases: list[int] = []
        self._numbers, _ = stitch(self._noted(slabs), shape, 26)
        # Slices are mostly asked in order.
        self._slab = lru_cache(1)(self._slab_at)

    def _noted(self, slabs: ClassSlabs) -> Iterator[LabelledSlab]:
        """Give the slabs, and keep at which number each of them begins."""
        for slab in slabs.foreground():
            self._bases.append(slab.base)
            yield slab

    def _read_classes(self, position: int) -> UInt8:
        z = position + self._first
        if z not in self._slices:
            return np.zeros(self._shape[1:], np.uint8)
        return self._table[self._classes_of(z)]

    def _slab_at(self, number: int) -> LabelledSlab:
        start = number * self._depth
        depth = min(self._depth, self._shape[0] - start)
        part = ClassSlabs(
            lambda z: self._read_classes(z + start), (depth, *self._shape[1:]), self._depth
        )
        return next(part.foreground())

    def read(self, z: int) -> Ints:
        """Read the numbers (H, W) of the components of a slice of the image; 0 for none."""
        number, inside = divmod(z - self._first, self._depth)
        components = self._slab(number).components[inside].astype(np.int64)
        return np.where(components > 0, self._numbers[components + self._bases[number]], 0)
