"""Files that are written whole or not at all, and whose damage is noticed."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fibseg.errors import DiskFullError, FibsegError
from fibseg.models.checkpoints import (
    is_whole,
    load_arrays,
    load_whole,
    save_arrays,
    save_whole,
)
from fibseg.models.trained import load_model, save_model
from tests.support.models import save_older, trained


def test_every_flipped_byte_of_the_weights_is_found(tmp_path: Path) -> None:
    """In a file of an older version; those of today have a checksum for all bytes."""
    path = tmp_path / "best.ckpt"
    save_older(trained([], 1), path)
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
    assert load_arrays(path)[0]["names"] == ["é", "b"]


def test_the_last_32_bytes_are_the_checksum_of_those_before(tmp_path: Path) -> None:
    """As `head -c -32 FILE | sha256sum` and `sha256sum FILE` have it."""
    path = tmp_path / "model.safetensors"
    model = trained([650], 2)
    digest = save_model(model, path)
    file = path.read_bytes()
    assert file[-32:] == hashlib.sha256(file[:-32]).digest()
    assert digest == hashlib.sha256(file).hexdigest() == load_model(path).file_sha256
    arrays = load_file(path)
    assert bytes(arrays.pop("sha256").tolist()) == file[-32:]
    weights = model.network.state_dict()
    assert arrays.keys() == weights.keys()
    assert all(torch.equal(arrays[name], weights[name]) for name in weights)


def test_every_flipped_byte_of_a_model_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(trained([], 1), path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    offsets = {*range(8), *rng.integers(8, start, 30), *rng.integers(start, len(content), 30)}
    for offset in (*offsets, len(content) - 1):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        assert not is_whole(path)
        with pytest.raises(FibsegError, match="damaged"):
            load_model(path)
    for length in (0, 7, 8, 10, start, len(content) // 2, len(content) - 32, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_whole(path)
    path.write_bytes(content + b"\0")
    assert not is_whole(path)


def test_weights_that_share_memory_or_have_another_order_are_kept(tmp_path: Path) -> None:
    values = torch.arange(24.0).view(1, 2, 3, 4)
    arrays = {
        "all": values,
        "part": values[:, 1],
        "last": values.contiguous(memory_format=torch.channels_last),
        "flags": torch.tensor([True, False]),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "count": torch.tensor(7),
    }
    save_arrays(arrays, {}, tmp_path / "a.safetensors")
    content, _ = load_arrays(tmp_path / "a.safetensors")
    assert content["weights"].keys() == arrays.keys()
    for name, array in arrays.items():
        assert content["weights"][name].dtype == array.dtype
        assert torch.equal(content["weights"][name], array)
