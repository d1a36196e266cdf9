"""Zip archives of records, unpacked with care: no name leaves the folder, no link is made."""

from __future__ import annotations

import errno
import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from fibseg.errors import FibsegError
from fibseg.files import require_disk, writing

_LARGEST_RATIO = 1000
"""How many times its size an archive may unpack to: labels of few values shrink much."""

_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    # Names that are not UTF-8, and places before the beginning.
    ValueError,
    lzma.LZMAError,
    zlib.error,
)
"""What zipfile raises for a damaged archive: the decompressors of its entries raise their own."""


def unpack(archive: Path, patterns: Sequence[str], folder: Path) -> None:
    """Unpack the files of a zip whose names fit one of the globs.

    Args:
        archive: the zip.
        patterns: globs of whole names in it; * does not match a slash.
        folder: that takes the files, with the folders of their names.

    Raises:
        FibsegError: it is no zip, damaged, holds a name that leaves the folder, a link or a
            password, or unpacks to far more than its size.
    """
    try:
        _unpack(archive, patterns, folder)
    except FibsegError:
        raise
    except _DAMAGE as error:
        # Of damage: bzip2's has no number, and a seek to nowhere has this one.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise FibsegError(
            f"{archive}: no zip, or a damaged one ({error}); delete it, and give the same command "
            "again."
        ) from error


def _unpack(archive: Path, patterns: Sequence[str], folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        entries = content.infolist()
        _check(archive, entries)
        wanted = [entry for entry in entries if _fits(entry.filename, patterns)]
        size = sum(entry.file_size for entry in wanted)
        require_disk(folder, size, f"the files of {archive.name}")
        for entry in wanted:
            target = folder / entry.filename
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                # CRCs are compared at the end of each file.
                with content.open(entry) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    # The entry of a folder has a slash at its end.
    parts = PurePosixPath(name).parts if not name.endswith("/") else ()
    return any(
        len(parts) == len(globs) and all(map(fnmatchcase, parts, globs))
        for globs in (PurePosixPath(pattern).parts for pattern in patterns)
    )


def _check(archive: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse the whole archive for one bad entry: who made that is not to be trusted."""
    for entry in entries:
        name = entry.filename
        leaves = ".." in PurePosixPath(name).parts or name.startswith("/")
        if leaves or re.search(r"[\\:\0]", name) or stat.S_ISLNK(entry.external_attr >> 16):
            raise FibsegError(
                f"{archive}: holds {name!r}, which leaves its folder; nothing is unpacked."
            )
    size = archive.stat().st_size
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > _LARGEST_RATIO * size:
        raise FibsegError(
            f"{archive}: {size / 1e6:.3g} MB that unpack to {unpacked / 1e6:.3g} MB; nothing is "
            "unpacked."
        )
