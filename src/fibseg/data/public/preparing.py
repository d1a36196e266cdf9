"""Files of a record as folders of slices: images, labels of few values, numbers of objects."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from fibseg.arrays import Pixels, UInt8
from fibseg.data.public.sets import PublicVolume
from fibseg.errors import FibsegError
from fibseg.files import writing
from fibseg.stack import open_colours, open_stack

_GREY = 0x010101
"""A grey value times this is its colour 0xRRGGBB."""


@dataclass(frozen=True)
class PreparedVolume:
    """A volume whose files are in place.

    Attributes:
        image: path in the folder of the set.
        labels: the same of the labels.
        instances: the same of numbers of objects; None where there are none.
        depth: number of its slices.
        other_pixels: pixels of the label files with a value that the record does not name.
    """

    image: str
    labels: str
    instances: str | None
    depth: int
    other_pixels: int = 0


def prepare_volume(volume: PublicVolume, source: Path, target: Path) -> PreparedVolume:
    """Bring the files of a volume into the layout that a data description names.

    Args:
        volume: of the record.
        source: folder of the unpacked files, from which pictures of slices are moved; of the
            downloaded ones, which stay, where the files of the record are stacks.
        target: folder of the set, which takes a folder for the volume.

    Raises:
        FibsegError: files are missing, or images and labels are not as many.
    """
    folder = target / volume.folder
    folder.mkdir(parents=True)
    if volume.values is None and not volume.numbered:
        return _copy_stacks(volume, source, target)
    labels = _matching(source, volume.labels)
    images = _matching(source, volume.images)
    # MitoEM has one folder of images, of which each part of the labels covers some.
    if volume.numbered:
        by_number = {_number_of(path): path for path in images}
        images = [by_number[_number_of(path)] for path in labels if _number_of(path) in by_number]
    if len(images) != len(labels):
        raise FibsegError(
            f"{source}: {len(images)} images ({volume.images}) for {len(labels)} labels "
            f"({volume.labels}); the record is not what it was."
        )
    other = 0
    for z, (image, label) in enumerate(zip(images, labels, strict=True)):
        _move(image, folder / "images" / f"z{z:04d}{image.suffix.lower()}")
        if volume.values is None:
            classes = (open_stack(label).read(0) != 0).astype(np.uint8)
            _move(label, folder / "instances" / f"z{z:04d}{label.suffix.lower()}")
        else:
            classes, others = class_values(open_colours(label).read(0), volume.values)
            other += others
        _write_slice(folder / "labels" / f"z{z:04d}.tif", classes)
    return PreparedVolume(
        image=f"{volume.folder}/images",
        labels=f"{volume.folder}/labels",
        instances=f"{volume.folder}/instances" if volume.numbered else None,
        depth=len(images),
        other_pixels=other,
    )


def class_values(colours: Pixels, values: Mapping[int, int]) -> tuple[UInt8, int]:
    """Turn a label picture into label values.

    Args:
        colours: (H, W) colours 0xRRGGBB.
        values: grey value -> label value.

    Returns:
        Label values (H, W), 0 where a colour is black or not named, and the number of pixels of
        colours that are neither.

    >>> class_values(np.array([[0xFFFFFF, 0x020202, 0, 0xFF0000]]), {255: 1, 2: 255})
    (array([[  1, 255,   0,   0]], dtype=uint8), 1)
    """
    classes = np.zeros(colours.shape, np.uint8)
    named = colours == 0
    for grey, value in values.items():
        pixels = colours == grey * _GREY
        classes[pixels] = value
        named |= pixels
    return classes, int((~named).sum())


def _copy_stacks(volume: PublicVolume, source: Path, target: Path) -> PreparedVolume:
    """Copy an image and its labels, a file each, as they are.

    The downloads stay, so that an error or a kill loses none of them.
    """
    names = {"image": volume.images, "labels": volume.labels}
    for kind, name in names.items():
        copy = target / volume.folder / f"{kind}.tif"
        with writing(copy):
            shutil.copyfile(source / name, copy)
    depths = {kind: open_stack(target / volume.folder / f"{kind}.tif").shape for kind in names}
    if depths["image"] != depths["labels"]:
        raise FibsegError(
            f"{volume.images} has shape {depths['image']}, but {volume.labels} {depths['labels']}; "
            "the record is not what it was."
        )
    return PreparedVolume(
        image=f"{volume.folder}/image.tif",
        labels=f"{volume.folder}/labels.tif",
        instances=None,
        depth=depths["image"][0],
    )


def _matching(folder: Path, pattern: str) -> Sequence[Path]:
    """List the files of a glob by the numbers in their names: 2 before 10."""
    return sorted(folder.glob(pattern), key=lambda path: (_number_of(path), path.name))


def _number_of(path: Path) -> int:
    """The last number in the name of a file; -1 without any."""
    digits = "".join(letter if letter.isdigit() else " " for letter in path.stem).split()
    return int(digits[-1]) if digits else -1


def _move(source: Path, target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)


def _write_slice(path: Path, pixels: UInt8) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels, compression="zlib")
