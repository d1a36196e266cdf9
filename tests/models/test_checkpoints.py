"""Files that are written whole or not at all, and whose damage is noticed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import is_whole, load_whole, save_whole
from fibseg.models.trained import load_model, save_model
from tests.support.models import trained


def test_every_flipped_byte_of_the_weights_is_found(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    save_model(trained([], 1), path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    for offset in rng.integers(
        largest.header_offset + 200, largest.header_offset + largest.file_size, 20
    ):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        assert not is_whole(path)
        with pytest.raises(FibsegError, match="damaged"):
            load_model(path)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_whole(path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    save_whole({"epoch": 1}, path)

    def full(_: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FibsegError, match="is the disk full"):
        save_whole({"epoch": 2}, path)
    assert load_whole(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
