"""From a data description to annotated slices: which pixels are which class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fibseg.arrays import IGNORE
from fibseg.data.description import SPLITS, DataDescription, VolumeDescription, check_description
from fibseg.errors import FibsegError
from fibseg.phantom.cell import make_phantom
from fibseg.stack import Stack, located, open_stack, write_stack

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class AnnotatedSlice:
    """One slice and its annotation.

    Attributes:
        volume: index of the volume in the description.
        z: slice of the image.
        image: (H, W), as in the file.
        labels: (H, W) uint8 class indices, IGNORE where nobody annotated.
    """

    volume: int
    z: int
    image: NDArray[Any]
    labels: UInt8


def load_slices(description: DataDescription) -> dict[str, list[AnnotatedSlice]]:
    """Read every slice of every split; also those of the second expert, under "second_expert".

    Raises:
        FibsegError: anything in the description that the files contradict.
    """
    check_description(description)
    if not description.volumes:
        raise FibsegError("data.volumes: empty; expected at least one volume.")
    provide_phantom(description)
    found: dict[str, list[AnnotatedSlice]] = {split: [] for split in (*SPLITS, "second_expert")}
    for index, volume in enumerate(description.volumes):
        reader = VolumeReader(description, index)
        for split, positions in split_positions(volume, reader, f"data.volumes[{index}]").items():
            found[split] += [reader.read(z) for z in positions]
        if volume.second_expert is not None:
            found["second_expert"] += read_second_expert(description, index)
    _check_shared_slices(description, found)
    for split in ("train", "validation"):
        if not found[split]:
            raise FibsegError(f"data: no slice in the {split} split; every description needs one.")
    _check_classes_present(found["train"], list(description.classes))
    return found


def read_second_expert(description: DataDescription, index: int) -> list[AnnotatedSlice]:
    """Page k of the second expert's labels belongs to entry k of its slices, in the place of the first expert's."""
    expert = description.volumes[index].second_expert
    assert expert is not None
    where = f"data.volumes[{index}].second_expert"
    reader = VolumeReader(description, index, labels=expert.labels)
    positions = parse_slices(expert.slices, reader.image.shape[0], f"{where}.slices")
    pages = reader.annotated[1] - reader.annotated[0]
    if pages != len(positions):
        raise FibsegError(
            f"{where}: {pages} pages of labels for {len(positions)} slices; expected one page per slice."
        )
    return [reader.read(z, page) for page, z in enumerate(positions)]


def provide_phantom(description: DataDescription) -> None:
    """Write the phantom of the description to its root; one that is there already must be the same."""
    if description.phantom is None or not description.volumes:
        return
    shape, root, voxels = (
        description.phantom.shape,
        Path(description.root),
        description.volumes[0].voxel_size,
    )
    if len(shape) != 3:
        raise FibsegError(f"data.phantom.shape: {list(shape)}; expected [slices, height, width].")
    image, labels = make_phantom((shape[0], shape[1], shape[2]), description.phantom.seed)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):  # runs that begin at once take turns
        for path, pixels in ((root / "labels.tif", labels), (root / "image.tif", image)):
            if not path.exists():
                write_stack(path, pixels, voxels)
            elif (stack := open_stack(path)).shape != image.shape or any(
                (one != now).any() for one, now in zip(stack, pixels, strict=True)
            ):
                raise FibsegError(
                    f"{path}: not the phantom of this shape and seed; delete it, or give another data.root."
                )


def image_place(description: DataDescription, volume: int) -> str:
    """Where a volume's image lies, the same text however the description writes its path."""
    path = located(description.root, description.volumes[volume].image)
    return path if "://" in path else str(Path(path).resolve())


def _check_shared_slices(
    description: DataDescription, found: dict[str, list[AnnotatedSlice]]
) -> None:
    """No slice of an image may be in two splits, through two entries of data.volumes either."""
    owner: dict[tuple[str, int], str] = {}
    for split in SPLITS:
        for one in found[split]:
            path = image_place(description, one.volume)
            if owner.setdefault((path, one.z), split) != split:
                raise FibsegError(
                    f"data: slice {one.z} of {path} is in both {owner[path, one.z]} and {split}."
                )


def _check_classes_present(train: Sequence[AnnotatedSlice], names: list[str]) -> None:
    present = set[int]().union(*(np.unique(one.labels).tolist() for one in train))
    missing = [name for index, name in enumerate(names, 1) if index not in present]
    if missing:
        raise FibsegError(
            f"data: class {', '.join(missing)} does not occur in the training slices; "
            "give training slices that show it, or leave it out of data.classes."
        )


class VolumeReader:
    """Image, labels and mask of one volume, opened and checked against each other.

    Attributes:
        image: the stack.
        annotated: slices of the image, [start, stop), that the labels cover.
    """

    def __init__(self, description: DataDescription, index: int, labels: Any = None):
        """`labels` replaces the volume's own, for a second expert, whose pages need not follow each other in z."""
        self._description, self._index = description, index
        volume, root = description.volumes[index], description.root
        where = f"data.volumes[{index}]"
        self._offset = volume.offset
        if (
            len(volume.offset) != 3
            or len(volume.voxel_size) != 3
            or not all(size > 0 for size in volume.voxel_size)
        ):
            raise FibsegError(
                f"{where}: offset and voxel_size are three numbers (z, y, x); sizes are in nm, above 0."
            )
        self.image = open_stack(located(root, volume.image))
        self._labels = self._open_labels(root, volume.labels if labels is None else labels)
        self._mask = None if volume.mask is None else open_stack(located(root, volume.mask))
        if self._mask is not None and self._mask.shape != self.image.shape:
            raise FibsegError(
                f"{where}.mask: shape {self._mask.shape}, but the image is {self.image.shape}."
            )
        shape = next(iter(self._labels.values())).shape
        for axis, start, size, whole in zip(
            "zyx", volume.offset, shape, self.image.shape, strict=True
        ):
            if (start < 0 or start + size > whole) and not (labels is not None and axis == "z"):
                raise FibsegError(
                    f"{where}: labels of shape {shape} at offset {list(volume.offset)} lie outside the image "
                    f"{self.image.shape} along {axis}; correct offset, or the files."
                )
        self.annotated = (volume.offset[0], volume.offset[0] + shape[0])

    def _open_labels(self, root: str, labels: Any) -> dict[str, Stack]:
        """Class -> mask, or "" -> integer labels."""
        paths = {"": labels} if isinstance(labels, str) else labels
        if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
            raise FibsegError(
                f"data.volumes[{self._index}].labels: {labels}; expected a path, or one per class: {{er: er.tif}}."
            )
        unknown = [name for name in paths if name and name not in self._description.classes]
        if unknown:
            raise FibsegError(
                f"data.volumes[{self._index}].labels: {unknown[0]} is none of data.classes."
            )
        stacks = {name: open_stack(located(root, path)) for name, path in paths.items()}
        for stack in stacks.values():
            if stack.dtype.kind not in "uib":
                raise FibsegError(f"{stack.name}: labels of type {stack.dtype}; expected integers.")
        if len({stack.shape for stack in stacks.values()}) != 1:
            raise FibsegError(
                f"data.volumes[{self._index}].labels: the masks differ in shape, or there is none."
            )
        return stacks

    def read(self, z: int, page: int | None = None) -> AnnotatedSlice:
        """Slice `z` of the image with its class indices; pixels outside labels and mask are IGNORE.

        `page` of the labels is the one that lies there, unless it is given.
        """
        image = read_finite(self.image, z)
        _, y, x = self._offset
        labels = np.full(image.shape, IGNORE, np.uint8)
        crop = self._read_labels(z - self._offset[0] if page is None else page)
        labels[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        if self._mask is not None:
            labels[self._mask.read(z) == 0] = IGNORE
        return AnnotatedSlice(self._index, z, image, labels)

    def _read_labels(self, z: int) -> UInt8:
        if "" in self._labels:
            stack = self._labels[""]
            return to_classes(stack.read(z), self._description, f"{stack.name}, slice {z}")
        names = list(self._description.classes)
        first = next(iter(self._labels.values()))
        labels = np.zeros(first.shape[1:], np.uint8)
        for name in reversed(names):  # where masks overlap, the class that stands first wins
            if name in self._labels:
                labels[self._labels[name].read(z) != 0] = names.index(name) + 1
        return labels


def read_finite(stack: Stack, z: int) -> NDArray[Any]:
    """Slice (H, W) of an image; FibsegError where a pixel is NaN or infinite."""
    image = stack.read(z)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise FibsegError(
            f"{stack.name}, slice {z}: NaN or infinite pixels; replace them in the file."
        )
    return image


def to_classes(labels: NDArray[Any], description: DataDescription, where: str) -> UInt8:
    """Label values (H, W) -> class indices (H, W) uint8; FibsegError on a value that nothing claims."""
    meaning = dict.fromkeys(description.background.labels, 0)
    meaning |= {one.label: index for index, one in enumerate(description.classes.values(), 1)}
    if description.ignore is not None:
        meaning[description.ignore] = IGNORE
    classes = np.empty(labels.shape, np.uint8)
    for value in np.unique(labels).tolist():
        if value not in meaning:
            raise FibsegError(
                f"{where}: label value {value} is claimed by no class; "
                "add it to data.classes, data.background.labels or data.ignore."
            )
        classes[labels == value] = meaning[value]
    return classes


def parse_slices(items: Iterable[Any], depth: int, where: str) -> list[int]:
    """Positions from integers and "start:stop" or "start:stop:step" texts, each within [0, depth).

    >>> parse_slices([3, "10:16:2"], 20, "split")
    [3, 10, 12, 14]
    """
    positions: list[int] = []
    for item in items:
        parts = str(item).split(":")
        try:
            numbers = [int(part) for part in parts]
            run = range(numbers[0], numbers[0] + 1) if len(numbers) == 1 else range(*numbers)
        except (ValueError, TypeError):
            raise FibsegError(
                f"{where}: '{item}' is no slice; expected 7, '0:40' or '0:40:2'."
            ) from None
        if not run or min(run[0], run[-1]) < 0 or max(run[0], run[-1]) >= depth:
            raise FibsegError(
                f"{where}: '{item}' is empty or leaves the image, which has slices 0 to {depth - 1}."
            )
        positions += run
    return positions


def split_positions(
    volume: VolumeDescription, reader: VolumeReader, where: str
) -> dict[str, list[int]]:
    """Slices of each split; FibsegError where splits overlap or leave the annotated slices."""
    unknown = [split for split in volume.split if split not in SPLITS]
    if unknown:
        raise FibsegError(
            f"{where}.split: '{unknown[0]}' is no split; expected {', '.join(SPLITS)}."
        )
    start, stop = reader.annotated
    owner: dict[int, str] = {}
    splits = {}
    for split, items in volume.split.items():
        splits[split] = parse_slices(items, reader.image.shape[0], f"{where}.split.{split}")
        for z in splits[split]:
            if not start <= z < stop:
                raise FibsegError(
                    f"{where}.split.{split}: slice {z} has no labels; they cover slices {start} to {stop - 1}."
                )
            if z in owner:
                raise FibsegError(
                    f"{where}.split: slice {z} is in both {owner[z]} and {split}; splits may not overlap."
                )
            owner[z] = split
    return splits


def data_hash(slices: dict[str, list[AnnotatedSlice]], class_names: Sequence[str]) -> str:
    """16 hexadecimal digits over the classes and every pixel and label of the three splits, in order."""
    digest = hashlib.sha256("\n".join(class_names).encode())
    for split in SPLITS:
        for one in slices[split]:
            digest.update(
                f"{split} {one.volume} {one.z} {one.image.dtype} {one.image.shape}".encode()
            )
            digest.update(one.image.tobytes())
            digest.update(one.labels.tobytes())
    return digest.hexdigest()[:16]
