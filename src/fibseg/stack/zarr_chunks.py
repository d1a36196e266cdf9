"""Chunks of a Zarr array, checked before they are decoded.

The decoders trust what a chunk says of itself: Blosc reads as many bytes as its header states, from
whatever lies behind a chunk that was cut, and others take memory for any size. Codecs that unpickle
would run code.
"""

from __future__ import annotations

import bz2
import lzma
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs.abc
import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.storage import LocalStore, WrapperStore

from fibseg.errors import FibsegError

_BLOSC_HEADER_BYTES = 16

_PLAIN = {
    *("bytes", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"),
    *("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits"),
}
"""Codecs that take no more memory than a chunk and trust no header."""

_MOST_COUNTED = 100_000
"""Chunks of an array up to which their files are counted."""


def checked_array(name: str, array: Any) -> Any:
    """Return the array with codecs that check a chunk before it is decoded.

    Raises:
        FibsegError: a codec is not among those that are read.
    """
    metadata = array.metadata
    if metadata.zarr_format == 2:
        size = math.prod(array.chunks) * array.dtype.itemsize
        # Filters change the size of values, at most to 8 bytes from 1, and checksums add some.
        limit = 16 * size + 64 if metadata.filters else size
        compressor = metadata.compressor and _Checked(metadata.compressor, limit)
        filters = tuple(_Checked(codec, limit) for codec in metadata.filters or ()) or None
        for codec in (metadata.compressor, *(metadata.filters or ())):
            _check_codec(name, codec.codec_id if codec else "bytes")
        changed = replace(metadata, compressor=compressor, filters=filters)
    else:
        changed = replace(metadata, codecs=_checked_codecs(name, metadata.codecs))
    return zarr.Array(zarr.AsyncArray(metadata=changed, store_path=array.store_path))


def absent_chunks(array: Any, folder: Path) -> tuple[int, int]:
    """Count the chunks of an array in a folder that have no file, and all chunks.

    (0, 0) where there are too many to count.
    """
    sides = array.shards or array.chunks
    grid = [-(-length // side) for length, side in zip(array.shape, sides, strict=True)]
    total = math.prod(grid)
    if total > _MOST_COUNTED:
        return 0, 0
    keys = (array.metadata.encode_chunk_key(place) for place in product(*map(range, grid)))
    return sum(not (folder / key).is_file() for key in keys), total


class ConfinedStore(WrapperStore[LocalStore]):
    """A store on a disk whose links lead to no files outside the folder that it lies in."""

    def __init__(self, store: LocalStore, folders: tuple[str, ...]):
        """`folders` are those that files may lie in, without links."""
        super().__init__(store)
        self._folders = folders

    def _with_store(self, store: LocalStore) -> ConfinedStore:
        return type(self)(store, self._folders)

    async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
        """Read a file of the store."""
        self._check(key)
        return await self._store.get(key, *arguments, **options)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        """Read parts of files of the store."""
        ranges = list(key_ranges)
        for key, _ in ranges:
            self._check(key)
        return await self._store.get_partial_values(prototype, ranges)

    def _check(self, key: str) -> None:
        place = os.path.realpath(self._store.root / key)
        if not any(Path(place).is_relative_to(folder) for folder in self._folders):
            raise FibsegError(
                f"{self._store.root / key}: a link to {place}, outside the folder of the store; "
                "copy what it leads to into the store (cp -L)."
            )


def confined_store(path: Path, outermost: Path) -> ConfinedStore:
    """Open a folder as a store; `outermost` is the whole store that it is a part of."""
    # A store that is a link itself was given by the user.
    folders = tuple(os.path.realpath(place) for place in (outermost.parent, outermost))
    return ConfinedStore(LocalStore(path, read_only=True), folders)


def _checked_codecs(name: str, codecs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Wrap the codecs of version 3 that unpack bytes, those within shards too."""
    checked: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            inner = _checked_codecs(name, codec.codecs)
            _checked_codecs(name, codec.index_codecs)
            checked.append(replace(codec, codecs=inner))
            continue
        identity = _identity_of(codec)
        _check_codec(name, identity)
        checked.append(_CheckedBytes(codec, identity) if identity in _DECODERS else codec)
    return tuple(checked)


def _check_codec(name: str, identity: str) -> None:
    if identity not in _PLAIN and identity not in _DECODERS:
        raise FibsegError(
            f"{name}: stored with the codec {identity}, which is not read here; save it with "
            "Blosc, Zstandard, gzip or without compression."
        )


def _identity_of(codec: Any) -> str:
    """Name a codec of version 3; those of numcodecs have a prefix."""
    return str(codec.to_dict()["name"]).removeprefix("numcodecs.")


class _Checked(numcodecs.abc.Codec):  # type: ignore[misc]
    """A codec of version 2 that checks a chunk first."""

    # zarr takes a class for a codec only where it has an identity.
    codec_id = "checked"

    def __init__(self, codec: Any, limit: int):
        """`limit` is the largest size in bytes of what it unpacks."""
        self._codec = codec
        self._limit = limit

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack a chunk."""
        decode = _DECODERS.get(self._codec.codec_id)
        if decode is None:
            return self._codec.decode(buf, out)
        return decode(_bytes_of(buf), self._limit, self._codec)

    def encode(self, buf: Any) -> Any:
        """Do nothing: the array is only read."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Describe the codec as metadata do."""
        return dict(self._codec.get_config())


@dataclass(frozen=True)
class _CheckedBytes(BytesBytesCodec):
    """A codec of version 3 that checks a chunk first."""

    codec: Any
    identity: str

    is_fixed_size = False

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        # A checksum may be packed along with the pixels.
        unpacked = _DECODERS[self.identity](chunk_data.to_bytes(), size + 64, _inner(self.codec))
        return chunk_spec.prototype.buffer.from_bytes(_bytes_of(unpacked))

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        raise NotImplementedError

    def evolve_from_array_spec(self, array_spec: Any) -> _CheckedBytes:
        """Take over what the array says of its values."""
        return replace(self, codec=self.codec.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
        """Compute the size of a packed chunk, which depends on its pixels."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Describe the codec as metadata do."""
        return dict(self.codec.to_dict())


def _inner(codec: Any) -> Any:
    """Return the codec of numcodecs that a codec of version 3 calls; None for zarr's own."""
    return getattr(codec, "_codec", None)


def _bytes_of(buffer: Any) -> bytes:
    """Copy what codecs take for bytes, arrays of any type among them."""
    return np.asarray(memoryview(buffer)).tobytes()


def _unpack_blosc(content: bytes, limit: int, _: Any) -> Any:
    """Unpack a chunk of Blosc, whose decoder reads as many bytes as the header states."""
    # Four bytes of versions and flags, then the sizes unpacked, of a block and packed
    # (c-blosc, README_CHUNK_FORMAT.rst).
    if len(content) < _BLOSC_HEADER_BYTES:
        raise ValueError("a chunk is cut off")
    # Shuffled bytes are sorted by the size of a value; no number has another.
    if content[3] not in (1, 2, 4, 8, 16):
        raise ValueError(f"a chunk says that its values have {content[3]} bytes")
    unpacked, _, packed = np.frombuffer(content, "<u4", 3, offset=4).tolist()
    if packed != len(content):
        raise ValueError(f"a chunk has {len(content)} bytes and says {packed}")
    _check_limit(unpacked, limit)
    return numcodecs.blosc.decompress(content)


def _unpack_lz4(content: bytes, limit: int, _: Any) -> Any:
    """Unpack LZ4 as numcodecs stores it: the size unpacked, then one block."""
    if len(content) < 4:
        raise ValueError("a chunk is cut off")
    _check_limit(int.from_bytes(content[:4], "little"), limit)
    return numcodecs.lz4.decompress(content)


def _unpack_zstd(content: bytes, limit: int, _: Any) -> Any:
    """Unpack Zstandard into at most `limit` bytes."""
    return imagecodecs.zstd_decode(content, out=limit)


def _unpack_zlib(content: bytes, limit: int, _: Any) -> Any:
    """Unpack zlib or gzip, whichever the first bytes say."""
    return _unpack_stream(zlib.decompressobj(32 + zlib.MAX_WBITS), content, limit)


def _unpack_bz2(content: bytes, limit: int, _: Any) -> Any:
    return _unpack_stream(bz2.BZ2Decompressor(), content, limit)


def _unpack_lzma(content: bytes, limit: int, codec: Any) -> Any:
    return _unpack_stream(lzma.LZMADecompressor(codec.format, None, codec.filters), content, limit)


def _unpack_stream(stream: Any, content: bytes, limit: int) -> bytes:
    """Unpack until the end, or one byte more than `limit`."""
    unpacked: bytes = stream.decompress(content, limit + 1)
    _check_limit(len(unpacked), limit)
    if not stream.eof:
        raise ValueError("a chunk is cut off")
    if stream.unused_data.strip(b"\0"):
        raise ValueError("a chunk goes on behind its end")
    return unpacked


def _check_limit(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"a chunk unpacks to {size} bytes and has room for {limit}")


_DECODERS: dict[str, Callable[[bytes, int, Any], Any]] = {
    "blosc": _unpack_blosc,
    "lz4": _unpack_lz4,
    "zstd": _unpack_zstd,
    "zlib": _unpack_zlib,
    "gzip": _unpack_zlib,
    "bz2": _unpack_bz2,
    "lzma": _unpack_lzma,
}
"""Codec -> a function from a chunk, the most bytes that it may unpack to, and the codec."""
