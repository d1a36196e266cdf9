"""Filtered slices kept on disk, so that a slice is filtered once for all runs.

One file per slice and area, named by a hash of what it is computed from: `cache_key`. The key
stands in the file, too, so that a file under the name of another is not believed.
"""

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from fibseg.arrays import Pixels
from fibseg.files import remove_all_partials, replacing

_CACHE_FORMAT = 2
"""Part of every key: raise it when the filter's result or the format of the files changes.

Format 2 came with the key inside the file.
"""

_KEY_BYTES = 64
"""Length of the key behind the pixels of each file."""

_DIGEST_BYTES = 32
"""Length of the SHA-256 that ends each file."""

_logger = logging.getLogger(__name__)


def cache_key(image: Pixels, area: int) -> str:
    """Name the cached result of one slice and one area, without ``.npy``.

    The key is a SHA-256, 64 hexadecimal digits, of the (H, W) pixels, their type and shape, the
    area in pixels, the scope and the version of the format. The backend does not count, because
    both give equal pixels.
    """
    head = (
        f"fibseg grain filter {_CACHE_FORMAT}|scope slice|area {area}|{image.dtype.str}|"
        f"{image.shape}|"
    )
    # Named by content: a slice that several data sets or runs share is filtered once.
    return hashlib.sha256(head.encode() + image.tobytes()).hexdigest()


def fill_from_cache(
    result: Pixels, image: Pixels, areas: Sequence[int], folder: Path | None
) -> list[int]:
    """Fill (len(areas), H, W) in place with what the cache has; return the areas that it lacks.

    An area that `areas` names twice is returned once. Without a folder the cache lacks all.
    """
    missing = []
    for position, area in enumerate(areas):
        pixels = _read(folder, image, area) if folder is not None else None
        if pixels is None:
            missing.append(area)
        else:
            result[position] = pixels
    # A set that keeps the order.
    return list(dict.fromkeys(missing))


def write_to_cache(image: Pixels, filtered: dict[int, Pixels], folder: Path) -> bool:
    """Write the filtered pixels of each area; return whether that was possible.

    Failure is a warning in the log, because the results are of use without a cache.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for area, pixels in filtered.items():
            _write(folder, cache_key(image, area), pixels)
    except OSError as error:
        _logger.warning(
            "the filter cache %s cannot be written (%s): results are used, not kept", folder, error
        )
        return False
    return True


@contextmanager
def turn_to_fill(
    folder: Path | None, images: Sequence[Pixels], areas: Sequence[int]
) -> Iterator[None]:
    """Wait until no other process filters these slices with one of these areas.

    Runs that start together would all filter the same slices; so the first fills the cache for all.
    """
    with ExitStack() as locks:
        # One lock per area, in order of size, so that no two processes wait for each other.
        for area in sorted(areas):
            if folder is None:
                break
            # Named by all slices together: runs of the same data and areas share a lock, others do
            # not wait.
            keys = "".join(cache_key(image, area) for image in images)
            name = hashlib.sha256(keys.encode()).hexdigest()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                locks.enter_context(FileLock(folder / f".{name}.lock"))
            except OSError:
                # A cache that cannot be written; `write_to_cache` will say so.
                break
        if folder is not None:
            # Here and not with each slice: a cache may hold thousands of files.
            with suppress(OSError):
                remove_all_partials(folder)
        yield


def _read(folder: Path, image: Pixels, area: int) -> Pixels | None:
    """Read (H, W) pixels; None where the file is missing, damaged, or the result of another key."""
    key = cache_key(image, area)
    try:
        content = (folder / f"{key}.npy").read_bytes()
        body = content[:-_DIGEST_BYTES]
        # A cut or changed file is computed again, as if it were missing.
        if hashlib.sha256(body).digest() != content[-_DIGEST_BYTES:]:
            return None
        # So is a whole file under the name of another: copied, renamed, or brought back wrongly.
        if body[-_KEY_BYTES:] != key.encode():
            return None
        pixels: Pixels = np.load(io.BytesIO(body), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == image.shape and pixels.dtype == image.dtype else None


def _write(folder: Path, key: str, pixels: Pixels) -> None:
    """Write (H, W) pixels as .npy; its key and a SHA-256 stand behind it, where `np.load` ends."""
    buffer = io.BytesIO()
    # In memory first, since the checksum is taken of the bytes of the file.
    np.save(buffer, pixels, allow_pickle=False)
    buffer.write(key.encode())
    buffer.write(hashlib.sha256(buffer.getvalue()).digest())
    # Shared: a run of other slices beside this one holds another lock.
    with replacing(folder / f"{key}.npy", shared=True) as partial:
        partial.write_bytes(buffer.getvalue())
