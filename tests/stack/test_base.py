"""What a stack is, apart from its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.stack import Stack, check_depth, part_of, read_finite, read_neighbours

PIXELS = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)


def test_a_box_keeps_its_place_and_the_numbers_of_its_slices() -> None:
    whole = Stack(
        name="here",
        shape=(6, 4, 5),
        dtype=np.dtype(np.uint8),
        read=PIXELS.__getitem__,
        voxel_size=(0.1, 4, 2),
        origin=(8.0, 64.0, 0.0),
        slice_numbers=(3, 4, 5, 7, 8, 9),
        doubts=("here: odd.",),
    )
    box = part_of(whole, (3, 1, 2), (2, 3, 3))
    np.testing.assert_array_equal(list(box), PIXELS[3:5, 1:, 2:])
    assert box.origin == (8.3, 68.0, 4.0)
    assert box.slice_numbers == (7, 8)
    assert box.doubts == whole.doubts


def test_a_box_of_a_stack_without_a_voxel_size_has_no_place() -> None:
    """How far it was moved in nm is unknown, and the stack's own place would be wrong."""
    whole = Stack("here", (6, 4, 5), np.dtype(np.uint8), PIXELS.__getitem__, origin=(8.0, 0.0, 0.0))
    assert part_of(whole, (0, 0, 0), (1, 4, 5)).origin == (8.0, 0.0, 0.0)
    assert part_of(whole, (1, 0, 0), (1, 4, 5)).origin is None


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (PIXELS[0, :2], "is 2 x 5 pixels of uint8 now, but the stack was opened as 4 x 5 of uint8"),
        (PIXELS[0].astype(np.uint16), "is 4 x 5 pixels of uint16 now"),
        (PIXELS[0][:, :, None], "is 4 x 5 x 1 pixels of uint8 now"),
    ],
)
def test_a_slice_that_has_become_another_is_refused(now: np.ndarray, words: str) -> None:
    stack = Stack("here", (6, 4, 5), np.dtype(np.uint8), lambda _: now)
    with pytest.raises(FibsegError, match=f"here, slice 3: {words}"):
        read_finite(stack, 3)


def test_the_order_of_bytes_is_no_other_type() -> None:
    big = PIXELS.astype(">u2")
    stack = Stack("here", (6, 4, 5), np.dtype(np.uint16), big.__getitem__)
    np.testing.assert_array_equal(read_finite(stack, 2), PIXELS[2])


def test_neighbours_are_mirrored_at_ends_and_at_gaps() -> None:
    plain = Stack("here", (6, 4, 5), np.dtype(np.uint8), PIXELS.__getitem__)
    assert plain.neighbours(2, 2) == [1, 3, 0, 4]
    assert plain.neighbours(0, 2) == [1, 1, 2, 2]
    assert plain.neighbours(5, 1) == [4, 4]
    assert plain.neighbours(3, 0) == []
    assert replace(plain, shape=(1, 4, 5), slice_numbers=(7,)).neighbours(0, 1) == [0, 0]
    # Slices 5 and 6 of the cell were lost, and every other number is that of a slice.
    gap = replace(plain, slice_numbers=(0, 2, 4, 10, 12, 14))
    assert gap.neighbours(1, 1) == [0, 2]
    assert gap.neighbours(2, 1) == [1, 1]
    assert gap.neighbours(3, 2) == [4, 4, 5, 5]
    # Neither side has a slice at this distance.
    assert gap.neighbours(1, 2) == [0, 2, 1, 1]
    assert replace(plain, slice_numbers=(9, 8, 7, 6, 5, 4)).neighbours(2, 1) == [1, 3]
    # Places of 7.5 nm, rounded.
    assert replace(plain, slice_numbers=(0, 8, 15, 23, 30, 38)).neighbours(2, 1) == [1, 3]
    for read, other in zip(read_neighbours(plain, 2, 2), (1, 3, 0, 4), strict=True):
        np.testing.assert_array_equal(read, PIXELS[other])


def test_a_stack_has_to_be_deeper_than_its_context() -> None:
    plain = Stack("here", (3, 4, 5), np.dtype(np.uint8), PIXELS.__getitem__)
    check_depth(plain, 2)
    with pytest.raises(
        FibsegError, match=r"here: 3 slices; a network of data.context=3 needs 4 or more\."
    ):
        check_depth(plain, 3)


def test_a_neighbour_that_cannot_be_read() -> None:
    def read(z: int) -> np.ndarray:
        if z == 1:
            raise FibsegError("here, slice 1: damaged.")
        return np.asarray(PIXELS[z])

    stack = Stack("here", (6, 4, 5), np.dtype(np.uint8), read)
    with pytest.raises(FibsegError, match="slice 1: damaged"):
        read_neighbours(stack, 2, 1)
    pictures = read_neighbours(stack, 2, 1, stand_in=PIXELS[2])
    np.testing.assert_array_equal(pictures, [PIXELS[2], PIXELS[3]])
