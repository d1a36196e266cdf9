"""Checkpoints as data: tensors and built-in types, written whole, never unpickled as code."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import replacing

METADATA_KEY = "fibseg"
"""Key in the metadata of a safetensors file that holds, as JSON, what stands beside the arrays."""


CHECKSUM_KEY = "sha256"
"""Key in the metadata of a safetensors file for the checksum of its content and its arrays."""

_CHECKSUMS_SINCE = 5
"""Format of a model file since which arrays have a checksum; older files are read without."""


def save_whole(content: dict[str, Any], path: Path) -> None:
    """Save by torch, so that a kill or a full disk leaves the old file or the whole new one.

    Raises:
        FibsegError: the file cannot be written.
        KeyboardInterrupt: Ctrl-C within the write.
    """
    _write(path, lambda file: torch.save(content, file))


def save_arrays(arrays: dict[str, torch.Tensor], content: dict[str, Any], path: Path) -> None:
    """Save arrays as safetensors, with `content` as JSON in the metadata, whole or not at all."""
    # safetensors keeps texts only in its metadata.
    text = json.dumps(content)
    metadata = {METADATA_KEY: text, CHECKSUM_KEY: _checksum(text, arrays)}
    header, data = _sorted_header(save(arrays, metadata))

    def write(file: IO[bytes]) -> None:
        file.write(header)
        file.write(data)

    _write(path, write)


def _sorted_header(content: bytes) -> tuple[bytes, memoryview]:
    """Cut a safetensors file into its header, with sorted metadata, and its arrays.

    safetensors writes metadata in an order that changes from call to call.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    # Arrays begin at a multiple of 8 bytes, as safetensors has them.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(content)[start:]


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    try:
        with replacing(path, durable=True) as partial, partial.open("wb") as file:
            try:
                write(file)
            except RuntimeError as error:
                # torch closes its archive after Ctrl-C or a failed write, too, and then raises an
                # error of its own, about a position in the file.
                raise error.__context__ or error from None
    except DiskFullError:
        raise
    except (OSError, RuntimeError) as error:
        raise FibsegError(f"{path}: the checkpoint could not be written ({error}).") from error


def load_whole(path: Path) -> dict[str, Any]:
    """Read what `save_whole` wrote; every byte is checked against its checksum.

    Raises:
        FibsegError: missing, damaged, or holding anything but tensors and built-in types.
    """
    if not path.is_file():
        raise FibsegError(f"{path}: no such checkpoint.")
    try:
        # torch.load accepts a flipped byte in silence; the zip's own checksums find it.
        with zipfile.ZipFile(path) as archive:
            require_stored(path, archive)
            damaged = archive.testzip()
        if damaged is not None:
            raise FibsegError(f"{path}: damaged checkpoint: {damaged} does not fit its checksum.")
        # weights_only: no class is unpickled, so no code in a file is run.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FibsegError:
        raise
    # zipfile and torch raise many kinds of exceptions on bytes that they did not write.
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FibsegError(
            f"{path}: no checkpoint of fibseg, or a damaged one ({reason})."
        ) from error
    if not isinstance(content, dict):
        raise FibsegError(f"{path}: no checkpoint of fibseg: it holds a {type(content).__name__}.")
    return content


def require_stored(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a zip that holds more than its own size; torch packs nothing.

    Raises:
        FibsegError: its parts are packed, or overlap.
    """
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    is_packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if is_packed or unpacked > path.stat().st_size:
        raise FibsegError(
            f"{path}: no checkpoint of fibseg: its {path.stat().st_size / 1e6:.3g} MB unpack to "
            f"{unpacked / 1e6:.3g} MB, and checkpoints are not packed."
        )


def load_arrays(path: Path) -> dict[str, Any]:
    """Read what `save_arrays` wrote: its content, and the arrays as "weights".

    Raises:
        FibsegError: missing, damaged, or no file of fibseg.
    """
    if not path.is_file():
        raise FibsegError(f"{path}: no such checkpoint.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            content = dict(json.loads(metadata[METADATA_KEY]))
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    # JSON may be nested deeper than Python's stack.
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FibsegError(f"{path}: no forest of fibseg, or a damaged one ({error}).") from error
    checksum = metadata.get(CHECKSUM_KEY)
    number = content.get("format")
    if checksum is None and isinstance(number, int) and number >= _CHECKSUMS_SINCE:
        raise FibsegError(f"{path}: a damaged forest: it has no checksum.")
    if checksum is not None and checksum != _checksum(metadata[METADATA_KEY], arrays):
        raise FibsegError(f"{path}: a damaged forest: it does not fit its checksum.")
    return content | {"weights": arrays}


def _checksum(text: str, arrays: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a text and of arrays: their names, types, shapes and bytes."""
    digest = hashlib.sha256(text.encode())
    # Sorted, since a file may list its arrays in any order.
    for name, array in sorted(arrays.items()):
        values = array.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def not_finite(weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the weights that are infinite or no number anywhere, as after a loss of NaN."""
    return [name for name, value in weights.items() if not torch.isfinite(value).all()]


def is_whole(path: Path) -> bool:
    """Whether `load_whole` would succeed."""
    try:
        load_whole(path)
    except FibsegError:
        return False
    return True
