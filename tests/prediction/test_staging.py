"""Slices that are kept until the output is made: who may write them, and a kill in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.prediction.output.staging import KeptSlice, Output, Staging
from fibseg.stack import StackWriter
from tests.support.forked import start_function
from tests.support.labelling import IMAGE_SHAPE, files_of, random_image, staged


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
    again = pytest.raises(FibsegError, match="another process labels these slices")
    with staging.shard(0, 1), again, staging.shard(0, 1):
        pass


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


def test_shards_of_another_count_wait_for_those_at_work(tmp_path: Path) -> None:
    """Their slices overlap; once the others have ended they may begin."""
    first = staged(tmp_path / "out.tif")
    second = staged(tmp_path / "out.tif")
    first.begin({"made": "here"})
    refused = pytest.raises(FibsegError, match="is labelled in 4 parts now, not in 8")
    with first.shard(1, 4):
        with second.shard(2, 4):
            pass
        with refused, second.shard(7, 8):
            pass
    with second.shard(7, 8):
        pass


def assemble_and_die(path: Path) -> None:
    """Make an output of its slices; it kills its process after seven of them."""
    write = StackWriter.write

    def write_or_die(self: StackWriter, pixels: np.ndarray) -> None:
        write(self, pixels)
        if self._written == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    StackWriter.write = write_or_die
    staging_of(path).assemble()


def staging_of(path: Path) -> Staging:
    return Staging([Output(path, "uint8", {})], IMAGE_SHAPE, None)


def full_staging(path: Path) -> Staging:
    """All slices are there, and no output is made of them yet."""
    staging = staging_of(path)
    staging.begin({"made": "here"})
    for z, pixels in enumerate(random_image()):
        staging.write(z, [pixels], KeptSlice(0.0, str(z), zeroed=False))
    return staging


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_killed_while_the_output_is_made_of_the_slices(tmp_path: Path, name: str) -> None:
    whole = full_staging(tmp_path / "whole" / name)
    assert whole.assemble()
    folder = tmp_path / "killed"
    killed = full_staging(folder / name)
    process = start_function(assemble_and_die, folder / name)
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / name).exists() and list(folder.glob("*.partial"))
    assert killed.assemble()
    assert files_of(folder / name) == files_of(tmp_path / "whole" / name)
    assert [path.name for path in folder.iterdir()] == [name]
