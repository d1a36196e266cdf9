"""Slices that are kept until the output is made: who may write them, and a kill in between."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from fibseg.errors import FibsegError
from fibseg.prediction.output import stores
from fibseg.prediction.output.blocks import Claims, blocks_of
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.stack import open_stack
from fibseg.stack.output.tiff import TiffOutput
from tests.support.forked import start_function
from tests.support.labelling import IMAGE_SHAPE, files_of, random_image, staged
from tests.support.processes import partial_of


def test_another_model_into_a_started_output_is_refused(tmp_path: Path) -> None:
    staging = staged(tmp_path / "out.tif")
    staging.begin({"models": ["a"], "windows": "whole"})
    for z in range(4):
        staging.write(z, [random_image()[z]], KeptSlice(0.0, f"{z}", zeroed=False))
    staging.begin({"models": ["a"], "windows": "whole"})
    with pytest.raises(
        FibsegError, match=r"was begun with other models; give another name, or delete"
    ):
        staging.begin({"models": ["c"], "windows": "whole"})
    with pytest.raises(FibsegError, match=r"begun with other windows \(whole, now blend 32\);"):
        staging.begin({"models": ["a"], "windows": "blend 32"})


def test_an_identity_of_an_older_version_has_the_values_of_its_time(tmp_path: Path) -> None:
    staging = staged(tmp_path / "out.tif")
    staging.begin({"models": ["a"]})
    staging.begin({"models": ["a"], "dtype": "uint8"})
    with pytest.raises(FibsegError, match=r"other intensity \(training, now own\)"):
        staging.begin({"models": ["a"], "dtype": "uint8", "intensity": "own"})
    newer = staged(tmp_path / "newer.tif")
    newer.begin({"models": ["a"], "intensity": "own"})
    # A key that is there and is asked for no longer differs, too.
    with pytest.raises(FibsegError, match=r"other intensity \(own, now training\)"):
        newer.begin({"models": ["a"]})


def test_a_session_has_a_first_and_a_last_process(tmp_path: Path) -> None:
    folder = tmp_path / "started"
    with StackSession(folder) as first:
        assert first.is_first
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(StackSession, folder)
            assert not waiting.done()
            first.share()
            second = waiting.result()
        assert not second.is_first and not second.is_last()
        with second:
            assert first.is_last()
    with StackSession(folder) as third:
        assert third.is_first
        # As the last one does, while the next one waits for it.
        (folder / ".session.lock").unlink()
        folder.rmdir()
        with StackSession(folder) as fourth:
            assert fourth.is_first
        (folder / ".session.lock").unlink()
        assert not third.share()


def test_blocks_are_taken_by_one_process_and_freed_slice_by_slice(tmp_path: Path) -> None:
    finished: set[int] = set()
    blocks = blocks_of(20, [3, 10])

    def claims() -> Claims:
        return Claims(tmp_path, blocks, finished.__contains__)

    first = claims()
    slices = iter(first)
    assert [next(slices), next(slices), next(slices)] == [3, 10, 0]
    second = claims()
    assert list(second) == [8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    finished |= {3, 10}
    first.end(3)
    # A block is freed with its last slice.
    finished.discard(10)
    assert list(claims()) == []
    first.end(10)
    third = claims()
    assert list(third) == [10]
    # As after a kill: what it had taken is free, and what it had finished is not taken again.
    first.close()
    finished |= {0, 1}
    second.close()
    assert list(claims()) == [2, *range(4, 8), 8, 9, *range(11, 20)]


def test_blocks_follow_the_chunks_of_the_image() -> None:
    assert [len(block) for block in blocks_of(100, [50], layer=32)] == [1, 32, 31, 32, 4]
    assert [len(block) for block in blocks_of(30, [], layer=5)] == [10, 10, 10]
    assert [len(block) for block in blocks_of(200, [], layer=200)] == [64, 64, 64, 8]
    assert blocks_of(2, [0, 1]) == [[0, 1]]


def finish_and_die(path: Path) -> None:
    """Make an output of its slices; it kills its process after seven of them."""
    copy = TiffOutput.copy
    write_notes = stores.write_store_notes

    def copy_or_die(self: TiffOutput, z: int, page: tifffile.TiffPage) -> None:
        copy(self, z, page)
        if z == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_notes_and_die(*arguments: Any) -> None:
        write_notes(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    TiffOutput.copy = copy_or_die
    stores.write_store_notes = write_notes_and_die
    staging_of(path).finish()


def staging_of(path: Path) -> Staging:
    return Staging([Output(path, "uint8", {})], IMAGE_SHAPE, None)


def full_staging(path: Path) -> Staging:
    """All slices are there, and no output is made of them yet."""
    staging = staging_of(path)
    staging.begin({"made": "here"})
    for z, pixels in enumerate(random_image()):
        staging.write(z, [pixels], KeptSlice(0.0, str(z), zeroed=False))
    return staging


@pytest.mark.parametrize("ome_zarr", ["0.4", "0.5"])
@pytest.mark.parametrize("rows", [0, 1024])
def test_background_fills_slices_or_chunks(tmp_path: Path, ome_zarr: str, rows: int) -> None:
    """Nothing but zeros in a chunk of 1024 x 1024 is stored like any other chunk."""
    output = Output(tmp_path / "out.zarr", "uint8", {}, ome_zarr=ome_zarr)
    staging = Staging([output], (3, 1100, 40), [20.0, 5.0, 5.0])
    pixels = np.zeros((1100, 40), np.uint8)
    pixels[:rows] = 2
    with StackSession(staging.folder):
        staging.begin({})
        for z in range(3):
            staging.write(z, [pixels], KeptSlice(0.0, str(z), zeroed=False))
        assert staging.count_missing() == 0
        assert staging.finish() is not None
    np.testing.assert_array_equal(open_stack(output.path).read(1), pixels)


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_killed_while_the_output_is_made_of_the_slices(tmp_path: Path, name: str) -> None:
    whole = full_staging(tmp_path / "whole" / name)
    assert whole.finish()
    folder = tmp_path / "killed"
    killed = full_staging(folder / name)
    process = start_function(finish_and_die, folder / name)
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / name).exists()
    assert killed.finish()
    assert files_of(folder / name) == files_of(tmp_path / "whole" / name)
    assert [path.name for path in folder.iterdir()] == [name]


def test_what_is_left_of_a_folder_that_was_being_deleted_goes(tmp_path: Path) -> None:
    staging = staging_of(tmp_path / "out.tif")
    left = partial_of(staging.folder, 2**22 + 1)
    left.mkdir()
    (left / "000003.json").write_text("{}")
    staging.remove_left({"made": "here"})
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_gone_takes_its_notes_with_it(tmp_path: Path) -> None:
    """Else slices of zeros would pass for labels."""
    path = tmp_path / "out.zarr"
    staging = staged(path)
    staging.begin({"models": ["a"]})
    for z in range(3):
        staging.write(z, [random_image()[z]], KeptSlice(0.0, f"{z}", zeroed=False))
    shutil.rmtree(staging.folder / "store" / "0" / "1")
    assert sorted(staged(path).kept()) == [0, 2]
    shutil.rmtree(staging.folder / "store")
    again = staged(path)
    assert again.begin({"models": ["a"]}) and again.kept() == {}
