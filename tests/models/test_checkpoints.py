"""Files that are written whole or not at all, and whose damage is noticed."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fibseg.errors import DiskFullError, FibsegError
from fibseg.models.checkpoints import (
    is_whole,
    load_arrays,
    load_whole,
    save_arrays,
    save_whole,
)
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


class Failing(io.BytesIO):
    """A file of which a write fails."""

    def __init__(self, number: int, error: BaseException):
        super().__init__()
        self.left = number
        self.error = error

    def write(self, content: Any) -> int:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().write(content)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (OSError(errno.ENOSPC, "No space left"), DiskFullError, r"last\.ckpt: cannot be written: "),
        (OSError(errno.EIO, "Input/output error"), FibsegError, r"last\.ckpt: .*output error"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
    ids=["full", "broken", "ctrl-c"],
)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: BaseException,
    expected: type[BaseException],
    text: str | None,
) -> None:
    """torch raises an error of its own after the first one, at some of the writes."""
    path = tmp_path / "last.ckpt"
    save_whole({"epoch": 1}, path)
    save = torch.save
    content = {"epoch": 2, "weights": torch.zeros(1000)}
    monkeypatch.setattr(torch, "save", lambda *_: save(content, Failing(number, error)))
    with pytest.raises(expected, match=text):
        save_whole(content, path)
    assert load_whole(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    """safetensors alone mixes the order of its metadata."""
    arrays = {"a": torch.arange(3, dtype=torch.int32), "b": torch.ones(2, dtype=torch.float64)}
    content = set()
    for number in range(12):
        path = tmp_path / f"{number}.safetensors"
        save_arrays(arrays, {"names": ["é", "b"]}, path)
        content.add(path.read_bytes())
    assert len(content) == 1
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("b"), arrays["b"])
    assert load_arrays(path)["names"] == ["é", "b"]
