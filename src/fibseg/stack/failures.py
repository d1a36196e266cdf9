"""What the exceptions of decoders mean, in one sentence that names the file.

Damage is only one of the reasons: a file that is whole may lack a codec, a permission or memory,
and its user must not throw it away.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fibseg.errors import FibsegError

_DAMAGE = "cannot be read, the file is damaged, cut off or no image ({reason})"

_MEANINGS: tuple[tuple[type[BaseException], str], ...] = (
    (MemoryError, "cannot be read, too little memory ({reason}); close other programs"),
    (PermissionError, "cannot be read, no permission; ask for it, or copy the file"),
    (FileNotFoundError, "cannot be read, nothing is there; was it moved or deleted?"),
    (IsADirectoryError, "cannot be read, it is a folder; expected a file"),
    (NotADirectoryError, "cannot be read, part of the path is a file; expected folders"),
    (ImportError, "cannot be read, a library is not installed ({reason}); install it"),
)
"""Type of an exception -> what it means."""

_DISK = "cannot be read, the disk or the network failed ({reason}); try again, or copy the file"

_SYSTEM_MEANINGS = {
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ETIMEDOUT: _DISK,
    errno.ECONNREFUSED: _DISK,
    errno.ECONNRESET: _DISK,
    errno.EHOSTUNREACH: _DISK,
    errno.ENETUNREACH: _DISK,
    errno.ENOMEM: "cannot be read, too little memory ({reason}); close other programs",
    errno.EMFILE: "cannot be read, too many files are open in this program ({reason})",
    errno.ENFILE: "cannot be read, too many files are open on this machine ({reason})",
    errno.ELOOP: "cannot be read, its symbolic links lead in a circle; mend the link",
    errno.ENAMETOOLONG: "cannot be read, the path is too long for this file system",
}
"""Number of a system's error -> what it means."""

_LOCKED = (
    "cannot be read, another program has it open for writing; close it there, and on a file system "
    "without locks set HDF5_USE_FILE_LOCKING=FALSE"
)

_CODEC = (
    "cannot be read, its compression is not known here ({reason}); save it without compression or "
    "with zlib"
)

_PIXELS = (
    "cannot be read, its type of pixels is not known here ({reason}); save it with 8 or 16 bits"
)

_ZARR = (
    "cannot be read, this kind of Zarr is not known here ({reason}); save it as Zarr 2 or 3 with "
    "chunks of one size"
)

_WORDS: tuple[tuple[str, str], ...] = (
    # HDF5's own words; its number is 11 where somebody else locks the file, and 37 where the file
    # system has no locks.
    (r"unable to lock file", _LOCKED),
    # tifffile, numcodecs and zarr in this order.
    (
        r"COMPRESSION\S* \d*>? ?not supported|not a known COMPRESSION|requires the 'imagecodecs",
        _CODEC,
    ),
    (r"[Uu]nrecognised mode|does not recognise mode", _PIXELS),
    (r"codec not available|[Uu]nknown codec", _CODEC),
    (r"Invalid (value for ')?zarr_format|Unknown chunk grid|No Zarr data type", _ZARR),
    (r"^Unable to allocate|[Cc]annot allocate memory", _MEANINGS[0][1]),
    (r"Cannot connect to host|Name or service not known", _DISK),
)
"""Pattern in a message -> what it means."""


class _RaiseLoggedErrors(logging.Handler):
    """A log handler that raises what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


@contextmanager
def damage_named(path: Path | str, z: int | None = None) -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence that names the file and the reason.

    Raises:
        FibsegError: the block raised an exception.
    """
    # tifffile logs damage as an error and continues with fewer slices.
    logger = logging.getLogger("tifffile")
    handler = _RaiseLoggedErrors(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    except FibsegError:
        # A reader inside has named the file already.
        raise
    # Decoders raise OSError, ValueError, SyntaxError, struct.error, zlib.error and more.
    except Exception as error:
        where = f"{path}" if z is None else f"{path}, slice {z}"
        raise FibsegError(f"{where}: {_meaning(error)}.") from error
    finally:
        logger.removeHandler(handler)


def _meaning(error: Exception) -> str:
    """Say what an exception means for the file."""
    # Some decoders say more than a line, and some nothing at all.
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    by_words = [meaning for words, meaning in _WORDS if re.search(words, str(error))]
    by_type = [meaning for kind, meaning in _MEANINGS if isinstance(error, kind)]
    number = error.errno if isinstance(error, OSError) else None
    by_number = [_SYSTEM_MEANINGS[number]] if number in _SYSTEM_MEANINGS else []
    return [*by_words, *by_type, *by_number, _DAMAGE][0].format(reason=reason)
