"""One file of a record by HTTP: resumed after a break, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibseg.data.public.sets import PublicFile
from fibseg.errors import FibsegError
from fibseg.files import partial_path, require_disk, writing

_BLOCK = 1 << 20
_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

Received = Callable[[int, int | None], None]
"""Takes the bytes that are there, and those of the whole file, if the server says so."""


@dataclass(frozen=True)
class _Answer:
    """What a server sends: from which byte, how many there are in all, and the file's version."""

    start: int
    total: int | None
    validator: str


def download(source: PublicFile, folder: Path, progress: Received) -> str:
    """Download a file, or take the one that is there.

    What came before a connection broke is kept beside it, and the next call goes on from there if
    the server still has the same file.

    Args:
        source: address, name and checksum.
        folder: that takes the file under its name.
        progress: is called after each block.

    Returns:
        The SHA-256 of the file.

    Raises:
        FibsegError: there is no network, the server has no such file, the connection broke, or the
            file is not the one of the checksum.
    """
    path = folder / source.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = partial_path(path)
        with writing(path):
            _receive(source, partial, path, progress)
            _check(source, partial, path)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        _note_of(partial).unlink(missing_ok=True)
    return _check(source, path, path)


def _note_of(partial: Path) -> Path:
    """The file that keeps which version of a file a partial one is of."""
    return partial.with_name(f"{partial.name}.version")


def _receive(source: PublicFile, partial: Path, path: Path, progress: Received) -> None:
    """Append what a partial file lacks."""
    note = _note_of(partial)
    there = partial.stat().st_size if partial.exists() else 0
    version = note.read_text(encoding="utf-8") if note.exists() else ""
    # Without a version nobody knows whether both parts are of one file, unless a checksum does.
    if there and not version and source.sha256 is None:
        there = 0
    with closing(_open(source, path, there, version)) as response:
        answer = _answer_of(response, there)
        # A server that ignores If-Range sends the rest of whatever it has now.
        if answer.start == 0 or not version or answer.validator == version:
            _append(source, response, answer, partial=partial, progress=progress)
            return
    partial.unlink()
    _receive(source, partial, path, progress)


def _append(
    source: PublicFile, response: Any, answer: _Answer, partial: Path, progress: Received
) -> None:
    """Write an answer into a partial file from its first byte on."""
    _require_size(source, answer.total or 0, partial)
    if answer.total is not None:
        require_disk(partial, answer.total - answer.start, f"the download of {source.name}")
    done = answer.start
    with partial.open("r+b" if partial.exists() else "wb") as file:
        file.truncate(done)
        file.seek(done)
        # Now, since the bytes of another version are gone; a kill before leaves the old note.
        _note_of(partial).write_text(answer.validator, encoding="utf-8")
        while block := _block_of(response, source, done, answer.total):
            done += len(block)
            _require_size(source, done, partial)
            file.write(block)
            progress(done, answer.total)
    if answer.total is not None and done != answer.total:
        raise _broken(source, done, answer.total, "it ended early")


def _require_size(source: PublicFile, size: int, partial: Path) -> None:
    """Refuse a file that is larger than any of its record; what came of it is removed."""
    if size > source.largest:
        partial.unlink(missing_ok=True)
        _note_of(partial).unlink(missing_ok=True)
        raise FibsegError(
            f"{source.url}: is larger than the {source.largest / 1e9:g} GB that {source.name} may "
            "have; this is not the file of the record."
        )


def _open(source: PublicFile, path: Path, there: int, version: str) -> Any:
    """Ask for a file, from byte `there` on if it is still the same version."""
    headers = {"User-Agent": "fibseg"}
    if there:
        headers["Range"] = f"bytes={there}-"
        if version:
            headers["If-Range"] = version
    try:
        return urllib.request.urlopen(
            urllib.request.Request(source.url, headers=headers), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        # All of it was there already, or the server's file became shorter.
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            return _open(source, path, 0, "")
        raise FibsegError(
            f"{source.url}: the server answers {error.code} {error.reason}; {_by_hand(path)}."
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise FibsegError(
            f"{source.url}: cannot be reached ({reason}); is there a network? Without one, "
            f"{_by_hand(path)}."
        ) from error


def _by_hand(path: Path) -> str:
    return f"get the file elsewhere, put it at {path}, and give the same command again"


def _answer_of(response: Any, there: int) -> _Answer:
    """Read the headers of an answer: the rest of a file, or all of it."""
    etag = str(response.headers.get("ETag", ""))
    # A weak one (W/) does not say that the bytes are the same.
    validator = etag if etag and not etag.startswith("W/") else ""
    validator = validator or str(response.headers.get("Last-Modified", ""))
    start, total = _span_of(response)
    if response.status == http.client.PARTIAL_CONTENT and start != there:
        raise FibsegError(f"{response.url}: the server sends byte {start}, expected {there}.")
    return _Answer(start, total, validator)


_DIGITS = r"(\d{1,15})"


def _span_of(response: Any) -> tuple[int, int | None]:
    """The first byte of an answer, and the size of the whole file if the server says so."""
    if response.status == http.client.PARTIAL_CONTENT:
        header = "Content-Range"
        # bytes 100-199/200, or * for an unknown length
        pattern = rf"bytes {_DIGITS}-\d+/(?:{_DIGITS}|\*)"
    else:
        header = "Content-Length"
        pattern = rf"(){_DIGITS}?"
    text = response.headers.get(header, "").strip()
    match = re.fullmatch(pattern, text, re.ASCII)
    if match is None:
        raise FibsegError(
            f"{response.url}: the server answers {response.status} with {header} {text[:60]!r}, "
            "which says no size; try again later."
        )
    return int(match[1] or 0), int(match[2]) if match[2] else None


def _block_of(response: Any, source: PublicFile, done: int, total: int | None) -> bytes:
    """Read the next bytes; none at the end."""
    try:
        return bytes(response.read(_BLOCK))
    except http.client.IncompleteRead as error:
        # What came before the break is worth keeping.
        if error.partial:
            return bytes(error.partial)
        raise _broken(source, done, total, "it ended early") from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(source, done, total, str(error) or type(error).__name__) from error


def _broken(source: PublicFile, done: int, total: int | None, reason: str) -> FibsegError:
    whole = f" of {total / 1e6:.1f}" if total is not None else ""
    return FibsegError(
        f"{source.url}: the connection broke after {done / 1e6:.1f}{whole} MB ({reason}); give the "
        "same command again, which goes on from there."
    )


def _check(source: PublicFile, content: Path, path: Path) -> str:
    """Compute the SHA-256 of a file, and compare it with the published one.

    A partial file that differs is removed, since nothing can be added to it.
    """
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if source.sha256 is not None and digest != source.sha256:
        if content != path:
            content.unlink()
            _note_of(content).unlink(missing_ok=True)
        raise FibsegError(
            f"{path}: SHA-256 {digest}, but {source.checksum_by} published {source.sha256} for "
            f"{source.url}: the file was changed or damaged, and is not used; delete it if it is "
            "there, and try again later."
        )
    return digest
