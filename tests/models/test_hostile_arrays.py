"""Safetensors files whose header lies: a sentence for each, and little memory."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.models.trained import load_model, model_content, save_model
from fibseg.models.weight_files import read_weights
from tests.support.models import trained

HALF = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
OTHER = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}
DEEP = "[" * 100_000 + "]" * 100_000


def raw(header: dict[str, Any] | bytes, data: bytes, length: int | None = None) -> bytes:
    """A file of any header, which claims `length` bytes of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return size.to_bytes(8, "little") + text + data


def signed(header: dict[str, Any], data: bytes) -> bytes:
    """A file with a checksum that fits, as somebody who does harm would make it."""
    end = len(data)
    entry = {"dtype": "U8", "shape": [32], "data_offsets": [end, end + 32]}
    whole = raw(header | {"sha256": entry}, data)
    return whole + hashlib.sha256(whole).digest()


def metadata(**changes: Any) -> dict[str, dict[str, str]]:
    content = model_content(trained([], 1)) | changes
    return {"__metadata__": {"fibseg": json.dumps(content)}}


ZEROS = bytes(16)

LIES = {
    "a header of 9 exabytes": raw({}, b"", 2**63 - 1),
    "a header larger than the file": raw({"a": HALF, "b": OTHER}, ZEROS, 10**6),
    "a header of 200 MB": raw(b"{}", b"", 200_000_000),
    "no JSON": raw(b"import os", ZEROS),
    "no mapping": raw(b"[1, 2]", ZEROS),
    "deep JSON": raw(DEEP.encode(), ZEROS),
    "not UTF-8": raw(b'{"\xff": 1}', ZEROS),
    "too short": b"\x01\x00",
    "empty": b"",
    "arrays beyond the end": signed(
        metadata() | {"a": OTHER | {"data_offsets": [8, 10**12]}}, ZEROS
    ),
    "arrays that overlap": signed(
        metadata() | {"a": HALF, "b": OTHER | {"data_offsets": [4, 12]}}, bytes(12)
    ),
    "a gap": signed(metadata() | {"b": OTHER}, ZEROS),
    "bytes of no array": signed(metadata() | {"a": HALF}, ZEROS),
    "offsets in reverse": signed(metadata() | {"a": HALF | {"data_offsets": [8, 0]}}, ZEROS),
    "a shape of more bytes": signed(
        metadata() | {"a": HALF | {"shape": [10**9]}, "b": OTHER}, ZEROS
    ),
    "a shape that overflows": signed(
        metadata() | {"a": HALF | {"shape": [2**62, 2**62]}, "b": OTHER}, ZEROS
    ),
    "a negative shape": signed(metadata() | {"a": HALF | {"shape": [-2]}, "b": OTHER}, ZEROS),
    "an unknown type": signed(metadata() | {"a": HALF | {"dtype": "OBJECT"}, "b": OTHER}, ZEROS),
    "a type without bytes": signed(metadata() | {"a": HALF | {"dtype": "F4"}, "b": OTHER}, ZEROS),
    "no metadata": signed({"a": HALF, "b": OTHER}, ZEROS),
    "metadata that are no texts": signed({"__metadata__": {"fibseg": 1}, "a": HALF}, bytes(8)),
    "deep metadata": signed({"__metadata__": {"fibseg": DEEP}, "a": HALF}, bytes(8)),
    "metadata of a list": signed({"__metadata__": {"fibseg": "[1]"}, "a": HALF}, bytes(8)),
    "a number of many digits": signed({"__metadata__": {"fibseg": "9" * 5000}}, b""),
    "a format of no number": signed(metadata(format="10"), b""),
    "a newer format": signed(metadata(format=11), b""),
    "another architecture": signed(metadata(architecture="os.system"), b""),
    "another program's": signed(metadata(architecture="ilastik"), b""),
    "another network": signed(metadata(architecture="eunet"), b""),
    "no weights": signed(metadata(), b""),
    "a wide network": signed(metadata(arguments={**trained([], 1).arguments, "width": 4000}), b""),
    "infinite numbers": signed(metadata(window=[float("-inf"), float("inf")]), b""),
    "no checksum": raw(metadata() | {"a": HALF, "b": OTHER}, ZEROS),
    "a checksum of another type": raw(
        metadata() | {"sha256": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}, bytes(32)
    ),
    "an empty checksum": raw(
        metadata() | {"sha256": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}, b""
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_file_whose_header_lies_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[name])
    tracemalloc.start()
    with pytest.raises(FibsegError) as error:
        load_model(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text and len(text) < len(str(path)) + 400
    assert peak < 20e6


def test_weights_with_a_checksum_of_other_weights(tmp_path: Path) -> None:
    """The same file with other weights, and with the checksum of the first."""
    path = tmp_path / "model.safetensors"
    model = trained([], 1)
    save_model(model, path)
    whole = path.read_bytes()
    with torch.no_grad():
        model.network.head.bias += 1
    save_model(model, path)
    changed = path.read_bytes()
    path.write_bytes(changed[:-32] + whole[-32:])
    with pytest.raises(FibsegError, match="a damaged model, or a changed one: its SHA-256 differs"):
        load_model(path)
    path.write_bytes(changed)
    assert torch.equal(load_model(path).network.head.bias, model.network.head.bias)


@pytest.mark.parametrize("name", [name for name in LIES if "header" in name or "JSON" in name])
def test_a_file_of_weights_whose_header_lies_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(LIES[name])
    with pytest.raises(FibsegError, match="no file of weights, or a damaged one") as error:
        read_weights(path)
    assert "\n" not in str(error.value)
