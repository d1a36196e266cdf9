"""A whole stack into its output: stopped, shared out, resumed, on a full disk, damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import tifffile
import torch

from fibseg.errors import FibsegError
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.stack import label_stack
from fibseg.prediction.windows import windows_of
from fibseg.stack import Stack, open_stack, read_notes
from fibseg.stack.output.slices import StoreSlices
from fibseg.stack.output.tiff import TiffOutput
from tests.support.labelling import (
    CPU,
    IMAGE_SHAPE,
    files_of,
    keep_some,
    label_into,
    labeller,
    random_image,
    stack_of,
    staged,
)
from tests.support.models import trained
from tests.support.processes import partial_of


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize(("name", "processes"), [("out.tif", 1), ("out.zarr", 2)])
@pytest.mark.parametrize("areas", [[], [20, 200]])
def test_labels_are_those_of_each_slice_by_itself(
    tmp_path: Path, name: str, areas: list[int], processes: int
) -> None:
    model = trained(areas, 1 + len(areas))
    stack = stack_of(random_image())
    label_into(
        staged(tmp_path / name),
        labeller(model, compute=replace(CPU, filter_threads=processes)),
        stack,
    )
    output = open_stack(tmp_path / name)
    values = np.array(model.label_values, np.uint8)
    slices = [labelled.labels for labelled in label_stack(labeller(model), stack, range(12))]
    expected = values[np.stack(slices)]
    np.testing.assert_array_equal([output.read(z) for z in range(12)], expected)
    assert len(np.unique(expected)) > 1
    assert list(output.voxel_size or ()) == [20.0, 5.0, 5.0]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def label_whole(path: Path) -> bytes:
    """Bytes of the output of an undisturbed prediction."""
    label_into(staged(path), labeller(trained([], 1)), stack_of(random_image()))
    return path.read_bytes()


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_processes_in_any_order_make_the_same_bytes(tmp_path: Path, name: str) -> None:
    """Each takes slices in an order of its own and is killed; the last one has little to do."""
    plain = labeller(trained([], 1))
    stack = stack_of(random_image())
    label_into(staged(tmp_path / "whole" / name), plain, stack)
    for positions in ((11, 3), (7, 0, 5), (1,)):
        keep_some(tmp_path / name, plain, stack, positions)
    assert not (tmp_path / name).exists()
    assert label_into(staged(tmp_path / name), plain, stack)
    assert files_of(tmp_path / name) == files_of(tmp_path / "whole" / name)
    assert {path.name for path in tmp_path.iterdir()} == {name, "whole"}


@pytest.mark.parametrize("count", [2, 4, 8])
def test_many_processes_share_a_stack(tmp_path: Path, count: int) -> None:
    """The first makes the folder, one finishes; each slice is labelled once."""
    plain = labeller(trained([], 1))
    stack, positions = recording(random_image((40, 70, 90)))
    output = Output(tmp_path / "out.zarr", "uint8", {})

    def label(_: int) -> bool:
        return label_into(Staging([output], stack.shape, None), plain, stack)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(label, range(count)))
    assert sum(results) >= 1
    # One of them is read before, for the estimate.
    assert sorted(positions) == sorted([*range(40), *set(positions[:1])])
    whole = Staging([replace(output, path=tmp_path / "whole.zarr")], stack.shape, None)
    label_into(whole, plain, stack)
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "whole.zarr")


def test_one_that_comes_after_the_others_have_finished_labels_nothing(tmp_path: Path) -> None:
    """It has looked at the output before they did."""
    plain = labeller(trained([], 1))
    late = staged(tmp_path / "out.tif")
    label_into(staged(tmp_path / "out.tif"), plain, stack_of(random_image()))
    stack, positions = recording(random_image())
    assert label_into(late, plain, stack)
    assert not positions and [path.name for path in tmp_path.iterdir()] == ["out.tif"]


def recording(pixels: np.ndarray) -> tuple[Stack, list[int]]:
    """A stack in memory, and the positions of the slices that are read of it."""
    positions: list[int] = []

    def read_and_record(z: int) -> np.ndarray:
        positions.append(z)
        return np.asarray(pixels[z])

    return Stack("here", pixels.shape, pixels.dtype, read_and_record), positions


def test_a_slice_that_cannot_be_read_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    plain = labeller(trained([], 1))
    with pytest.raises(
        FibsegError,
        match=r"here, slice 5: damaged\. Slices 5, 7 could not be read; the rest is kept in",
    ):
        label_into(staged(tmp_path / "out.tif"), plain, stack_of(random_image(), (5, 7)))
    assert not (tmp_path / "out.tif").exists()
    kept = staged(tmp_path / "out.tif")
    assert kept.missing(range(12)) == [5, 7]
    stack, positions = recording(random_image())
    label_into(kept, plain, stack)
    # Before these, all others are compared with the kept ones, and one is timed.
    assert positions[-2:] == [5, 7] and sorted(positions) == sorted([*range(12), 7])
    assert (tmp_path / "out.tif").read_bytes() == label_whole(tmp_path / "whole.tif")


@pytest.mark.parametrize("name", ["zeros.tif", "zeros.zarr"])
def test_a_slice_that_cannot_be_read_may_become_0(tmp_path: Path, name: str) -> None:
    plain = labeller(trained([], 1))
    label_whole(tmp_path / "whole.tif")
    broken = stack_of(random_image(), (5,))
    with pytest.raises(FibsegError, match="Slices 5 could not be read; they are 0 in the output"):
        label_into(staged(tmp_path / name), plain, broken, skip_unreadable=True)
    labels = open_stack(tmp_path / name)
    whole = tifffile.imread(tmp_path / "whole.tif")
    for z in range(12):
        np.testing.assert_array_equal(labels.read(z), whole[z] if z != 5 else 0 * whole[z])


def test_a_slice_that_is_lost_as_soon_as_it_is_written_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreSlices, "has", lambda _, z: z != 5)
    with pytest.raises(FibsegError, match="slices 5 are not there although they were written"):
        label_into(
            staged(tmp_path / "out.zarr"), labeller(trained([], 1)), stack_of(random_image())
        )
    monkeypatch.undo()
    label_into(staged(tmp_path / "out.zarr"), labeller(trained([], 1)), stack_of(random_image()))
    label_whole(tmp_path / "whole.tif")
    whole = tifffile.imread(tmp_path / "whole.tif")
    np.testing.assert_array_equal(open_stack(tmp_path / "out.zarr").read(5), whole[5])


def test_zeros_for_a_slice_are_tried_again_and_reported_again(tmp_path: Path) -> None:
    plain = labeller(trained([], 1))
    out = tmp_path / "out.tif"
    broken = stack_of(random_image(), (2,))
    with pytest.raises(FibsegError, match="Slices 2 could not be read; they are 0"):
        label_into(staged(out), plain, broken, skip_unreadable=True)
    with pytest.raises(FibsegError, match="Slices 2 could not be read; the rest is kept"):
        label_into(staged(tmp_path / "other.tif"), plain, broken)
    # The slice was mended.
    label_into(staged(out), plain, stack_of(random_image()))
    notes = read_notes(out)
    assert notes is not None and notes["zeroed"] == [] and len(notes["pixels"]) == 12
    with pytest.raises(FibsegError, match="they are 0 in the output"):
        label_into(staged(tmp_path / "zeros.tif"), plain, broken, skip_unreadable=True)
    notes = read_notes(tmp_path / "zeros.tif")
    assert notes is not None and notes["zeroed"] == [2]


def test_slices_of_an_unknown_model_are_labelled_again(tmp_path: Path) -> None:
    """A kill during the removal of the folder may leave them without an identity."""
    expected = label_whole(tmp_path / "whole.tif")
    staging = staged(tmp_path / "out.tif")
    staging.begin({"made": "here"})
    for z in range(12):
        ones = np.ones(IMAGE_SHAPE[1:], np.uint8)
        staging.write(z, [ones], KeptSlice(0.0, "of another model", zeroed=False))
    (staging.folder / "identity.json").unlink()
    partial_of(tmp_path / "out.tif", 2**22 + 1).write_bytes(b"half")
    label_into(staging, labeller(trained([], 1)), stack_of(random_image()))
    assert (tmp_path / "out.tif").read_bytes() == expected
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "whole.tif"}


def test_empty_and_cut_files_are_no_slices(tmp_path: Path) -> None:
    plain = labeller(trained([], 1))
    staging = staged(tmp_path / "out.tif")
    with pytest.raises(FibsegError):
        label_into(staging, plain, stack_of(random_image(), (11,)))
    staging.file(3).write_bytes(b"")
    staging.file(4).write_bytes(staging.file(4).read_bytes()[:40])
    assert staging.missing(range(12)) == [3, 4, 11]
    label_into(staging, plain, stack_of(random_image()))
    assert (tmp_path / "out.tif").read_bytes() == label_whole(tmp_path / "whole.tif")


def test_a_kept_slice_with_a_flipped_byte_is_labelled_again(tmp_path: Path) -> None:
    """Its strips are copied as they are, so that nothing else would notice."""
    plain = labeller(trained([], 1))
    out = tmp_path / "out.tif"
    keep_some(out, plain, stack_of(random_image()), range(12))
    path = staged(out).file(4)
    with tifffile.TiffFile(path) as file:
        middle = file.pages.first.dataoffsets[0] + file.pages.first.databytecounts[0] // 2
    content = bytearray(path.read_bytes())
    content[middle] ^= 255
    path.write_bytes(content)
    with pytest.raises(FibsegError, match=r"000004.tif: damaged .* labels this slice again"):
        label_into(staged(out), plain, stack_of(random_image()))
    label_into(staged(out), plain, stack_of(random_image()))
    assert out.read_bytes() == label_whole(tmp_path / "whole.tif")


def disk_is_full(*_: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_keeps_the_slices_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = labeller(trained([], 1))
    stack = stack_of(random_image())
    out = tmp_path / "out.tif"
    write = tifffile.TiffWriter.write
    written = []

    def write_five(self: tifffile.TiffWriter, *arguments: object, **options: object) -> object:
        written.append(1)
        # One is written in the trial.
        if len(written) > 6:
            disk_is_full()
        return write(self, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(tifffile.TiffWriter, "write", write_five)
        with pytest.raises(
            FibsegError, match=r"000000.tif: cannot be written: the disk is full; make room"
        ):
            label_into(staged(out), plain, stack)
        # Slices over the whole stack come first.
        assert staged(out).missing(range(12)) == [0, 2, 4, 5, 7, 9, 11]
        assert not list(tmp_path.rglob("*.partial"))
    label_into(staged(out), plain, stack)
    assert out.read_bytes() == label_whole(tmp_path / "whole.tif")


def test_a_disk_too_full_for_the_output_keeps_all_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = labeller(trained([], 1))
    out = tmp_path / "out.tif"
    with monkeypatch.context() as patch:
        patch.setattr(TiffOutput, "copy", disk_is_full)
        with pytest.raises(
            FibsegError, match=r"the disk is full; make room, .* All slices are kept in"
        ):
            label_into(staged(out), plain, stack_of(random_image()))
    assert not out.exists() and not list(tmp_path.glob("*.partial"))
    stack, positions = recording(random_image())
    label_into(staged(out), plain, stack)
    # They are compared with the kept ones, and not labelled again.
    assert sorted(positions) == list(range(12))
    assert out.read_bytes() == label_whole(tmp_path / "whole.tif")


class NoMemory(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError


def test_memory_for_not_even_one_window_is_one_sentence(tmp_path: Path) -> None:
    model = replace(trained([], 1), network=NoMemory())
    small = labeller(model, windows=windows_of(model, "paper"))
    with pytest.raises(FibsegError, match="too little memory for windows=paper 32"):
        label_into(staged(tmp_path / "out.tif"), small, stack_of(random_image()))
