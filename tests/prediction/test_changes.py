"""Slices that were replaced since they were labelled: exactly these are labelled again."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from rich.console import Console

from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.prediction.job import finished_digests, unchanged_slices
from fibseg.prediction.output.changes import compare_slices, pixel_digest, slice_digest
from fibseg.prediction.output.outputs import KeptSlice
from fibseg.stack import Stack, read_neighbours, read_notes
from tests.support.labelling import (
    files_of,
    keep_some,
    label_into,
    labeller,
    random_image,
    stack_of,
    staged,
)
from tests.support.models import trained

GREY = trained([], 1).grey_range


def with_other_slices(*positions: int) -> np.ndarray:
    """`random_image` with other pixels in some slices."""
    image = random_image().copy()
    for z in positions:
        image[z] = image[z][::-1]
    return image


def recorded(pixels: np.ndarray, broken: tuple[int, ...] = ()) -> tuple[Stack, list[int]]:
    """A stack in memory, and the positions of the slices that are read of it."""
    positions: list[int] = []
    stack = stack_of(pixels, broken)

    def read(z: int) -> np.ndarray:
        positions.append(z)
        return stack.read(z)

    return Stack("here", stack.shape, stack.dtype, read), positions


def undisturbed(path: Path, pixels: np.ndarray) -> dict[str, bytes]:
    """Files of a prediction that begins and ends with this image."""
    label_into(staged(path), labeller(trained([], 1)), stack_of(pixels))
    return files_of(path)


def test_comparison_says_what_is_same_changed_or_unreadable() -> None:
    digests = {z: pixel_digest(random_image()[z]) for z in range(12)}
    changes = compare_slices(digests, stack_of(with_other_slices(3, 8), broken=(5,)), GREY)
    assert (changes.changed, changes.unreadable) == ([3, 8], [5])
    expected = {
        z: ((random_image()[z] < 3) | (random_image()[z] > 234)).mean()
        for z in (0, 1, 2, 4, 6, 7, 9, 10, 11)
    }
    assert changes.same == pytest.approx(expected) and not changes.other_image
    assert compare_slices(digests, stack_of(random_image()[::-1]), GREY).other_image


def test_neighbours_of_a_changed_slice_have_changed_for_a_model_that_saw_it() -> None:
    stack = stack_of(random_image())
    digests = {
        z: slice_digest(stack.read(z), read_neighbours(stack, z, 1)) for z in (0, 1, 2, 5, 7, 8, 9)
    }
    # Slice 6 was not labelled yet, and slice 4 is that of another process.
    other = stack_of(with_other_slices(0, 4, 8))
    changes = compare_slices(digests, other, GREY, context=1)
    assert changes.changed == [0, 1, 5, 7, 8, 9]
    assert sorted(changes.same) == [2]
    alone = {z: digest for z, digest in digests.items() if z == 5}
    assert not compare_slices(alone, other, GREY, context=1).other_image


@pytest.mark.parametrize("context", [0, 1, 2])
def test_a_mended_slice_is_labelled_again_with_those_that_saw_it(
    tmp_path: Path, context: int
) -> None:
    """What was made with a stand-in becomes what an undisturbed prediction makes."""
    model = replace(trained([], 1 + 2 * context), channels=Channels(context=context))
    out = tmp_path / "out.tif"
    whole = tmp_path / "whole.tif"
    with pytest.raises(FibsegError, match="slice 5: damaged"):
        label_into(staged(out), labeller(model), stack_of(random_image(), (5,)))
    label_into(staged(out), labeller(model), stack_of(random_image()))
    label_into(staged(whole), labeller(model), stack_of(random_image()))
    assert files_of(out) == files_of(whole)


def test_a_resumed_prediction_labels_again_what_changed(tmp_path: Path) -> None:
    plain = labeller(trained([], 1))
    out = tmp_path / "out.tif"
    keep_some(out, plain, stack_of(random_image()), range(6))
    stack, positions = recorded(with_other_slices(1, 4))
    label_into(staged(out), plain, stack)
    # Each kept slice is compared; one of those that are left is timed.
    assert sorted(positions) == sorted([*range(6), 8, 1, 4, *range(6, 12)])
    assert files_of(out) == undisturbed(tmp_path / "whole.tif", with_other_slices(1, 4))


def test_a_started_output_refuses_another_image(tmp_path: Path) -> None:
    plain = labeller(trained([], 1))
    keep_some(tmp_path / "out.tif", plain, stack_of(random_image()), range(6))
    with pytest.raises(FibsegError, match="was begun with other images; give another name"):
        label_into(staged(tmp_path / "out.tif"), plain, stack_of(random_image()[::-1]))
    assert len(staged(tmp_path / "out.tif").kept()) == 6


def left_of(path: Path, stack: Stack) -> tuple[dict[int, KeptSlice] | None, str]:
    """What a finished output still holds for an image, and what is printed of it."""
    stream = io.StringIO()
    outputs = staged(path).outputs
    digests = finished_digests(outputs, {"made": "here"}, stack)
    console = Console(file=stream, width=300)
    left = unchanged_slices(digests, labeller(trained([], 1)), stack, path, console)
    return left, stream.getvalue()


def finish(path: Path, stack: Stack, skip_unreadable: bool = False) -> None:
    """Make an output that knows what it was made with."""
    staging = staged(path)
    staging.outputs[0].notes["identity"] = {"made": "here"}
    label_into(staging, labeller(trained([], 1)), stack, skip_unreadable=skip_unreadable)


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_a_finished_output_gets_new_labels_where_slices_changed(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    finish(out, stack_of(random_image()))
    left, text = left_of(out, stack_of(random_image()))
    assert left is None and "finished already, by the same model on the same image" in text
    changed = stack_of(with_other_slices(0, 7))
    left, text = left_of(out, changed)
    assert left is not None and sorted(left) == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert "slices 0, 7 have changed since they were labelled; they are labelled again" in text
    stack, positions = recorded(with_other_slices(0, 7))
    staging = staged(out)
    staging.outputs[0].notes["identity"] = {"made": "here"}
    label_into(staging, labeller(trained([], 1)), stack, restored=left)
    assert sorted(positions) == [0, 7, 7]
    finish(tmp_path / "whole" / name, changed)
    assert files_of(out) == files_of(tmp_path / "whole" / name)
    assert left_of(out, stack_of(random_image()[::-1]))[0] == {}


def test_zeros_of_a_finished_output_are_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    with pytest.raises(FibsegError, match="they are 0 in the output"):
        finish(out, stack_of(random_image(), broken=(5,)), skip_unreadable=True)
    with pytest.raises(FibsegError, match="finished, but slices 5 still cannot be read"):
        left_of(out, stack_of(random_image(), broken=(5,)))
    left, text = left_of(out, stack_of(random_image(), broken=(2,)))
    assert "slices 5 have changed" in text and "slices 2 cannot be read now" in text
    assert left is not None and 5 not in left and left[2] == KeptSlice(0.0, left[2].digest, False)


def test_an_output_of_an_older_version_is_compared_as_far_as_it_can_be(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    finish(out, stack_of(random_image()))
    notes = read_notes(out)
    assert notes is not None
    few = {z: notes["pixels"][z] for z in ("0", "6", "11")}
    description = f"fibseg={json.dumps(notes | {'pixels': few})}"
    older = tmp_path / "older.tif"
    tifffile.imwrite(older, tifffile.imread(out), metadata=None, description=description)
    left, printed = left_of(older, stack_of(with_other_slices(4)))
    assert left is None and "an older version kept the digests of these alone" in printed
    assert left_of(older, stack_of(with_other_slices(6)))[0] == {}
