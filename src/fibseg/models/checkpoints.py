"""Checkpoints as data: tensors and built-in types, written whole, never unpickled as code."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import replacing

ARRAYS_SUFFIX = ".safetensors"

METADATA_KEY = "fibseg"
"""Key in the metadata of a safetensors file that holds, as JSON, what stands beside the arrays."""

CHECKSUM = "sha256"
"""Name of the last array of a safetensors file: the SHA-256 of all bytes before it.

A hash of the file up to there checks it, and the same hash goes on to that of the whole file.
"""

_CHECKSUM_BYTES = 32

_OLDER_CHECKSUM_KEY = "sha256"
"""Key in the metadata of a file of formats 5 to 9 for the checksum of its content and arrays."""

_OLDER_CHECKSUMS_SINCE = 5
_CHECKSUMS_SINCE = 10
"""Formats of a model file since which it has the checksum in its metadata, and the one at its end.
Older files are read without."""


def save_whole(content: dict[str, Any], path: Path) -> None:
    """Save by torch, so that a kill or a full disk leaves the old file or the whole new one.

    Raises:
        FibsegError: the file cannot be written.
        KeyboardInterrupt: Ctrl-C within the write.
    """
    _write(path, lambda file: torch.save(content, file))


def save_arrays(arrays: Mapping[str, torch.Tensor], content: dict[str, Any], path: Path) -> str:
    """Save arrays as safetensors, with `content` as JSON in the metadata, whole or not at all.

    Returns:
        The SHA-256 of the file, as `sha256sum` prints it.

    Raises:
        FibsegError: the file cannot be written.
    """
    # safetensors keeps texts only in its metadata, and arrays in the usual order of their numbers.
    metadata = {METADATA_KEY: json.dumps(content)}
    copies = {
        name: array.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, array in arrays.items()
    }
    header, data = _with_checksum(save(copies, metadata))
    digest = hashlib.sha256(header)
    digest.update(data)
    checksum = digest.digest()
    digest.update(checksum)

    def write(file: IO[bytes]) -> None:
        file.write(header)
        file.write(data)
        file.write(checksum)

    _write(path, write)
    return digest.hexdigest()


def _with_checksum(content: bytes) -> tuple[bytes, memoryview]:
    """Cut a safetensors file into its arrays and its header, which also names the checksum then."""
    header, start = _header(content)
    end = len(content) - start
    header[CHECKSUM] = {
        "dtype": "U8",
        "shape": [_CHECKSUM_BYTES],
        "data_offsets": [end, end + _CHECKSUM_BYTES],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    # Arrays begin at a multiple of 8 bytes, as safetensors has them.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(content)[start:]


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its arrays begin."""
    start = 8 + int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8:start])), start


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


def load_arrays(path: Path) -> tuple[dict[str, Any], str]:
    """Read what `save_arrays` wrote; every byte is checked against its checksum.

    Returns:
        The content, with the arrays as "weights", and the SHA-256 of the file.

    Raises:
        FibsegError: missing, damaged, or no file of fibseg.
    """
    if not path.is_file():
        raise FibsegError(f"{path}: no such checkpoint.")
    try:
        # Read once, so that what is checked is what is used.
        file = path.read_bytes()
        arrays = load(file)
        header, _ = _header(file)
        metadata: dict[str, str] = header.get("__metadata__") or {}
        content = dict(json.loads(metadata[METADATA_KEY]))
    # JSON may be nested deeper than Python's stack, and a type of arrays be none of torch's.
    except (
        *(OSError, SafetensorError, ValueError, TypeError, KeyError),
        *(RecursionError, MemoryError, RuntimeError, AssertionError),
    ) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        lacking = "no " if isinstance(error, KeyError) else ""
        raise FibsegError(
            f"{path}: no model of fibseg, or a damaged one ({lacking}{reason})."
        ) from error
    digest = _checked_digest(
        path=path, file=file, arrays=arrays, number=content.get("format"), metadata=metadata
    )
    arrays.pop(CHECKSUM, None)
    return content | {"weights": arrays}, digest


def _checked_digest(
    path: Path,
    file: bytes,
    arrays: dict[str, torch.Tensor],
    number: Any,
    metadata: dict[str, str],
) -> str:
    """Compare a file with the checksum that it holds; gives the SHA-256 of the whole file."""
    older = metadata.get(_OLDER_CHECKSUM_KEY)
    if CHECKSUM in arrays:
        # Another place than the end would be a checksum of itself.
        checksum = file[-_CHECKSUM_BYTES:]
        digest = hashlib.sha256(memoryview(file)[:-_CHECKSUM_BYTES])
        fits = digest.digest() == checksum
        digest.update(checksum)
    else:
        since = _OLDER_CHECKSUMS_SINCE if older is None else _CHECKSUMS_SINCE
        digest = hashlib.sha256(file)
        fits = older is None or older == _older_checksum(metadata[METADATA_KEY], arrays)
        if type(number) is int and number >= since:
            raise FibsegError(f"{path}: a damaged model: it has no checksum.")
    if not fits:
        raise FibsegError(f"{path}: a damaged model, or a changed one: its SHA-256 differs.")
    return digest.hexdigest()


def _older_checksum(text: str, arrays: dict[str, torch.Tensor]) -> str:
    """The checksum of formats 5 to 9: of a text and of arrays, with names, types and shapes."""
    digest = hashlib.sha256(text.encode())
    # Sorted, since a file may list its arrays in any order.
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_content(path: Path) -> tuple[dict[str, Any], str]:
    """Read a file of `save_arrays`, or of `save_whole` if its name does not end in .safetensors.

    Returns:
        The content, and the SHA-256 of the file, as `sha256sum` prints it.

    Raises:
        FibsegError: as for `load_arrays` and `load_whole`.
    """
    if path.suffix == ARRAYS_SUFFIX:
        return load_arrays(path)
    content = load_whole(path)
    with path.open("rb") as file:
        return content, hashlib.file_digest(file, "sha256").hexdigest()


def not_finite(weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the weights that are infinite or no number anywhere, as after a loss of NaN."""
    return [name for name, value in weights.items() if not torch.isfinite(value).all()]


def is_whole(path: Path) -> bool:
    """Whether `load_content` would succeed."""
    try:
        load_content(path)
    except FibsegError:
        return False
    return True
