"""Which images and slices are the same, whatever their files are called."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from fibseg.arrays import Pixels, Place
from fibseg.data.description import DataDescription
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.stack import Stack, located, open_stack


class SliceOwners:
    """Which split has which slice of which image, to find a slice that two splits share.

    Two entries of data.volumes may name the same image, or copies of it or of a part of it, so
    slices are known by the image's location and, of several volumes, by their pixels.
    """

    def __init__(self, description: DataDescription):
        self._description = description
        self._of_place: dict[tuple[str, int], tuple[Place, str]] = {}
        self._of_picture: dict[str, tuple[Place, str]] = {}

    def conflict(self, annotated: AnnotatedSlice, split: str) -> str | None:
        """Note a slice of a split; gives a sentence if another split has it already."""
        place = annotated.place
        key = image_location(self._description, place.volume), place.z
        owner, owner_split = self._of_place.setdefault(key, (place, split))
        if owner_split != split:
            return self._sentence(owner, owner_split, place, split)
        # A slice of one value is padding, and alike in many images.
        if len(self._description.volumes) < 2 or annotated.image.min() == annotated.image.max():
            return None
        digest = picture_digest(annotated.image)
        owner, owner_split = self._of_picture.setdefault(digest, (place, split))
        # A microscope may repeat a slice: its copies in one volume are neighbours, no leak.
        if owner_split != split and owner.volume != place.volume:
            return self._sentence(owner, owner_split, place, split)
        return None

    def _sentence(self, owner: Place, owner_split: str, place: Place, split: str) -> str:
        volumes = self._description.volumes
        image = volumes[place.volume].image
        owner_image = volumes[owner.volume].image
        same = (image, place.z) == (owner_image, owner.z)
        copy = "" if same else f", a copy of slice {owner.z} of {owner_image},"
        return f"data: slice {place.z} of {image}{copy} is in both {owner_split} and {split}."


def image_identity(description: DataDescription, volume: int) -> str:
    """Identify a volume's image by its pixels: the same text for a copy under another name.

    It is the location where no slice can be read, or all of those that were are of one value.
    """
    location = image_location(description, volume)
    with suppress(FibsegError):
        return pixels_identity(open_stack(location)) or location
    return location


def pixels_identity(stack: Stack) -> str | None:
    """Identify a stack by its shape and the pixels of its first, middle and last slice.

    None where each of them has a single value: slices of padding are alike in many images.

    Raises:
        FibsegError: a slice cannot be read.
    """
    depth = stack.shape[0]
    digests = []
    for z in dict.fromkeys((0, depth // 2, depth - 1)):
        image = stack.read(z)
        if image.min() < image.max():
            digests.append(f"{z} {picture_digest(image)}")
    return f"{stack.shape} {' '.join(digests)}" if digests else None


def picture_digest(image: Pixels) -> str:
    """Hash the grey values of a slice (H, W) and their type."""
    return hashlib.sha256(f"{image.dtype} {image.shape}".encode() + image.tobytes()).hexdigest()


def image_location(description: DataDescription, volume: int) -> str:
    """Locate a volume's image: the same text, however the description writes its path."""
    path = located(description.root, description.volumes[volume].image)
    # Links are followed, so that one file under two names is one image.
    return path if "://" in path else str(Path(path).resolve())
