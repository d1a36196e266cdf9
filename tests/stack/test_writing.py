"""Stacks that are written on a full disk, or beside what killed processes left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.errors import DiskFullError
from fibseg.files import partial_path
from fibseg.stack import write_stack
from fibseg.stack.output.tiff import TiffOutput
from fibseg.stack.output.zarr import ZarrOutput

PIXELS = np.zeros((2, 8, 8), np.uint8)


def full_disk(*_: object) -> None:
    # The system names no file where bytes are written.
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_in_close(output: TiffOutput) -> None:
    output._file.close()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("output", "step", "failure"),
    [
        (TiffOutput, "__init__", full_disk),
        (TiffOutput, "write", full_disk),
        (TiffOutput, "close", full_disk_in_close),
        (ZarrOutput, "__init__", full_disk),
        (ZarrOutput, "write", full_disk),
    ],
)
def test_a_full_disk_names_the_stack_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: type,
    step: str,
    failure: Callable[..., None],
) -> None:
    path = tmp_path / f"a.{'tif' if output is TiffOutput else 'zarr'}"
    monkeypatch.setattr(output, step, failure)
    with pytest.raises(DiskFullError, match=f"^{path}: cannot be written: the disk is full; make"):
        write_stack(path, PIXELS)
    assert not list(tmp_path.iterdir())


def test_the_first_error_is_the_one_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose writing failed cannot be closed either."""

    def cannot_close(self: TiffOutput) -> None:
        self._file.close()
        raise ValueError("cannot be closed")

    monkeypatch.setattr(TiffOutput, "write", full_disk)
    monkeypatch.setattr(TiffOutput, "close", cannot_close)
    with pytest.raises(DiskFullError):
        write_stack(tmp_path / "a.tif", PIXELS)
    assert not list(tmp_path.iterdir())


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    name = partial_path(path, shared=True).name
    dead = tmp_path / name.replace(f"-{os.getpid()}-", f"-{os.getpid()}-9")
    living = partial_path(path, shared=True).with_name(name.replace(".a.tif.", ".b.tif."))
    for partial in (dead, living):
        partial.touch()
    write_stack(path, PIXELS)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([living.name, "a.tif"])
    assert tifffile.imread(path).shape == PIXELS.shape
