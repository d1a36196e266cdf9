"""Where labels lie in their image: numbers in names, places in files, offsets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.data.labels.pairing import (
    missing_offset,
    offset_of_labels,
    place_labels,
    slice_list,
)
from fibseg.data.slices import load_slices
from fibseg.data.volume import VolumeReader
from fibseg.errors import FibsegError
from fibseg.stack import Stack
from tests.support import describe

Numbers = Sequence[int] | None


def stack(
    depth: int,
    numbers: Numbers = None,
    *,
    name: str = "labels",
    size: float | None = None,
    origin: tuple[float, float, float] | None = None,
) -> Stack:
    """A stack of slices of 8 x 9 pixels, with cubic voxels."""
    pixels = np.zeros((depth, 8, 9), np.uint8)
    return Stack(
        name,
        pixels.shape,
        pixels.dtype,
        pixels.__getitem__,
        voxel_size=None if size is None else (size, size, size),
        origin=origin,
        slice_numbers=None if numbers is None else tuple(numbers),
    )


def numbered(numbers: Sequence[int], name: str = "labels") -> Stack:
    return stack(len(numbers), numbers, name=name)


IMAGE = numbered(range(12), "image")


@pytest.mark.parametrize(
    ("image", "labels", "offset", "slices", "says"),
    [
        # Single slices, of any numbers.
        (IMAGE, numbered([0, 3, 6, 9]), 0, [0, 3, 6, 9], "the names say slices 0, 3, 6, 9"),
        (IMAGE, numbered([11, 2]), 0, [11, 2], "the names say slices 2, 11"),
        (numbered(range(100, 112)), numbered([101, 105]), 0, [1, 5], "say slices 1, 5 of"),
        (numbered([0, 10, 20, 30]), numbered([10, 30]), 0, [1, 3], "say slices 1, 3 of"),
        (numbered([5, 7, 9]), numbered([5, 7, 9]), 0, [0, 1, 2], ""),
        # A block that follows itself.
        (IMAGE, numbered(range(4, 8)), 0, [4, 5, 6, 7], "the names say slices 4 to 7"),
        (IMAGE, numbered(range(4, 8)), 4, [4, 5, 6, 7], ""),
        # An offset that a person wrote wins over a block of another count.
        (IMAGE, numbered(range(4)), 5, [5, 6, 7, 8], ""),
        # One numbered from 0, the other from 1; parts that count for themselves; one file.
        (IMAGE, numbered(range(1, 13)), 0, range(12), ""),
        (numbered(range(171, 250)), numbered(range(40)), 20, range(20, 60), ""),
        (stack(12), numbered(range(12)), 0, range(12), ""),
        (stack(12), numbered(range(3)), 7, [7, 8, 9], ""),
        (IMAGE, stack(3), 7, [7, 8, 9], ""),
        (stack(3), numbered([0, 2, 9]), 0, [0, 1, 2], ""),
    ],
)
def test_slices_of_labels(
    image: Stack, labels: Stack, offset: int, slices: Sequence[int], says: str
) -> None:
    placement = place_labels(image, labels, [offset, 0, 0])
    assert placement.pages == {z: page for page, z in enumerate(slices)}
    assert bool(placement.note) == bool(says)
    assert says in placement.note


@pytest.mark.parametrize(
    ("image", "labels", "offset", "doubt"),
    [
        (IMAGE, numbered(range(4)), 5, "say slices 0 to 3 of the image, but the offset [5, 0, 0]"),
        (IMAGE, numbered(range(1, 13)), 0, "taken in order"),
        (numbered(range(171, 250)), numbered(range(40)), 0, "taken in order"),
        (stack(3), numbered([0, 2, 9]), 0, "0, 2, 9 were taken in order"),
    ],
)
def test_what_names_do_not_confirm_is_doubted(
    image: Stack, labels: Stack, offset: int, doubt: str
) -> None:
    (text,) = place_labels(image, labels, [offset, 0, 0]).doubts
    assert doubt in text


@pytest.mark.parametrize(
    ("image", "labels", "offset", "message"),
    [
        # As many files as the image, and of other slices.
        (numbered(range(4)), numbered([0, 3, 6, 9]), 0, "no slice of the image has the number 6"),
        (numbered(range(100, 120)), numbered(range(110, 130)), 0, "the number 120"),
        (IMAGE, numbered(range(5, 20)), 0, "the number 12"),
        (IMAGE, numbered([0, 3, 12]), 0, "the number 12"),
        (IMAGE, numbered([0, 3, 6]), 2, "give an offset of 0 along z"),
        (stack(12), numbered([0, 3, 6, 9]), 0, "labels of single slices"),
        (numbered(range(171, 250)), numbered([0, 3, 6]), 0, "the number 0"),
    ],
)
def test_labels_that_would_lie_on_other_slices_are_refused(
    image: Stack, labels: Stack, offset: int, message: str
) -> None:
    with pytest.raises(FibsegError, match=message):
        place_labels(image, labels, [offset, 0, 0])


def test_a_file_without_its_slice_is_named(tmp_path: Path) -> None:
    for z in (0, 6):
        tifffile.imwrite(tmp_path / f"slice_{z:03d}.tif", np.zeros((8, 9), np.uint8))
    labels = numbered([0, 6], str(tmp_path))
    for name in (str(tmp_path), f"{tmp_path}/*.tif"):
        with pytest.raises(FibsegError, match=r"number 6 of the file slice_006.tif"):
            place_labels(numbered([0, 1]), numbered(labels.slice_numbers or (), name), [0, 0, 0])


AT_ORIGIN = stack(20, name="image", size=4.0, origin=(0.0, 0.0, 0.0))


def test_an_offset_follows_from_places_in_nm() -> None:
    """A crop of CellMap: 8, 64, 64 nm at voxels of 4 nm."""
    crop = stack(6, size=4.0, origin=(8.0, 64.0, 64.0))
    assert offset_of_labels(AT_ORIGIN, crop) == [2, 16, 16]
    assert place_labels(AT_ORIGIN, crop, [2, 16, 16]).doubts == ()
    (doubt,) = place_labels(AT_ORIGIN, crop, [0, 0, 0]).doubts
    assert "the labels start at [2, 16, 16] in the image, and the offset is [0, 0, 0]" in doubt
    between = stack(6, size=4.0, origin=(9.0, 64.0, 64.0))
    assert offset_of_labels(AT_ORIGIN, between) == [2, 16, 16]
    assert "[2.25, 16, 16]" in place_labels(AT_ORIGIN, between, [2, 16, 16]).doubts[0]


def test_a_place_without_another_one_to_compare_says_nothing() -> None:
    crop = stack(6, size=4.0, origin=(8.0, 64.0, 64.0))
    assert offset_of_labels(stack(20, size=4.0), crop) is None
    assert offset_of_labels(stack(20, size=4.0), stack(20)) == [0, 0, 0]


def test_voxels_of_two_sizes_are_refused() -> None:
    with pytest.raises(FibsegError, match=r"2 x 2 x 2 nm, image of 4 x 4 x 4 nm; bring them to"):
        place_labels(AT_ORIGIN, stack(20, size=2.0), [0, 0, 0])
    assert place_labels(AT_ORIGIN, stack(20, size=4.001), [0, 0, 0]).doubts == ()


def test_no_advice_for_an_offset_that_would_be_wrong() -> None:
    sparse = numbered([0, 3, 6, 9])
    assert "--offset" not in str(missing_offset(stack(12), sparse))
    assert "--offset z,y,x" in str(missing_offset(stack(12), stack(4)))
    corner = Stack("corner", (2, 4, 4), np.dtype("uint8"), lambda _: EMPTY, slice_numbers=(3, 6))
    assert offset_of_labels(IMAGE, corner) is None
    assert "slices 3, 6: say where they start in y and x with --offset 0,y,x" in str(
        missing_offset(IMAGE, corner)
    )


EMPTY = np.zeros((4, 4), np.uint8)


def write_slices(folder: Path, slices: dict[int, np.ndarray], width: int = 3) -> None:
    folder.mkdir()
    for z, pixels in slices.items():
        tifffile.imwrite(folder / f"slice_{z:0{width}d}.tif", pixels)


def masks(numbers: Sequence[int], column: int = 5) -> dict[int, np.ndarray]:
    """A mask whose columns begin 5 pixels further right in each slice."""
    slices = {}
    for z in numbers:
        slices[z] = np.zeros((40, 90), np.uint8)
        slices[z][10:20, column + 5 * z : column + 5 * z + 15] = 1
    return slices


@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize("per_class", [False, True])
def test_sparse_labels_of_a_description_lie_on_their_slices(
    width: int, per_class: bool, tmp_path: Path
) -> None:
    """Labels of slices 0, 3, 6 and 9, also as a folder of masks for each class."""
    image = np.random.default_rng(0).integers(90, 200, (12, 40, 90)).astype(np.uint8)
    write_slices(tmp_path / "raw", dict(enumerate(image)))
    write_slices(tmp_path / "labels", masks([0, 3, 6, 9]), width)
    classes = describe(tmp_path).classes
    description = describe(
        tmp_path,
        {
            "image": "raw",
            "labels": {"er": "labels"} if per_class else "labels",
            "split": {"train": [0, 3], "validation": [6], "test": [9]},
        },
        classes={"er": classes["mitochondrion"]},
    )
    slices = load_slices(description)
    for split, (z,) in {"validation": (6,), "test": (9,)}.items():
        (entry,) = slices[split]
        np.testing.assert_array_equal(entry.image, image[z])
        np.testing.assert_array_equal(entry.labels, masks([z])[z])
    description.volumes[0].split = {"train": [0, 1], "validation": [6]}
    with pytest.raises(FibsegError, match="slice 1 has no labels; they cover slices 0, 3, 6, 9"):
        load_slices(description)
    assert len(VolumeReader(description, 0).notes) == 1


def test_masks_of_different_slices_are_refused(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(90, 200, (12, 40, 90)).astype(np.uint8)
    write_slices(tmp_path / "raw", dict(enumerate(image)))
    write_slices(tmp_path / "er", masks([0, 3, 6]))
    write_slices(tmp_path / "membrane", masks([0, 3, 9]))
    labels = {"er": "er", "membrane": "membrane"}
    with pytest.raises(FibsegError, match="the masks are of different slices"):
        VolumeReader(describe(tmp_path, {"image": "raw", "labels": labels}), 0)


def test_pages_of_a_second_expert_and_a_mask_have_the_numbers_of_their_slices(
    tmp_path: Path,
) -> None:
    image = np.random.default_rng(0).integers(90, 200, (12, 40, 90)).astype(np.uint8)
    write_slices(tmp_path / "raw", dict(enumerate(image)))
    write_slices(tmp_path / "labels", masks(range(12), 3))
    write_slices(tmp_path / "expert", masks([3, 9]))
    reader = VolumeReader(describe(tmp_path, {"image": "raw", "labels": "labels"}), 0, "expert")
    reader.check_pages([3, 9])
    with pytest.raises(FibsegError, match=r"slice_009.tif, page 1, would lie on the slice .* 8"):
        reader.check_pages([3, 8])


@pytest.mark.parametrize(
    ("slices", "text"),
    [([5], "5"), ([8, 15], "8, 15"), ([1, 2, 3], "1 to 3"), (range(0, 51, 10), "0 to 50 by 10")],
)
def test_slices_in_a_message(slices: Sequence[int], text: str) -> None:
    assert slice_list(slices) == text
