"""Files that appear whole or not at all, and room on the disk.

Here: writing beside the target and renaming, free bytes. Not here: formats (`fibseg.stack`), what
is in a run directory (`fibseg.runs`).
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from fibseg.errors import DiskFullError, FibsegError

_NO_ROOM = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota of this account is used up; make room",
    errno.EFBIG: "files may not become that large here; raise the limit (ulimit -f)",
}
"""Number of an error that a lack of room causes -> the reason, and what to do."""


FOREIGN_SECONDS = 24 * 3600
"""Age from which a partial file of another machine, which cannot be asked, counts as left."""


def partial_path(path: Path, shared: bool = False) -> Path:
    """Return the name under which a file is written before it takes its own.

    Args:
        path: the name that it will have.
        shared: whether several processes may write it at once, so that each needs a name of its
            own. A lone writer keeps one name, so that a kill leaves one file at most.
    """
    process = f".{_machine()}-{os.getpid()}-{_start_of(os.getpid())}" if shared else ""
    # Beside the target: TMPDIR may be on another file system, where a rename is a copy.
    return path.with_name(f".{path.name}{process}.partial")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in the error of a block that writes it and finds no room.

    The system's own error says "No space left on device", and no file.

    Raises:
        DiskFullError: the disk is full, a quota is used up, or a file grew beyond a limit.
    """
    try:
        yield
    # A block within this one knows its file better.
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DiskFullError(
            f"{path}: cannot be written: {_NO_ROOM[error.errno]}, then give the same command again."
        ) from error


def full_disk_sentence(error: BaseException) -> str | None:
    """What to do about an error that a lack of room caused in a library; None for any other one.

    It names the file only where the system did.
    """
    if not isinstance(error, OSError) or isinstance(error, DiskFullError):
        return None
    if error.errno not in _NO_ROOM:
        return None
    where = error.filename or "a file"
    return f"{where}: cannot be written: {_NO_ROOM[error.errno]}, then give the same command again."


@contextmanager
def replacing(path: Path, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to; the file there takes the name `path` at the end of the block.

    A reader sees the old file or the whole new one, even after a kill or on a full disk. After an
    exception the new file is removed.

    Args:
        path: the name that the file will have; its folder is made.
        shared: as in `partial_path`.
        durable: whether the bytes must be on the disk before the name changes, which outlives a
            loss of power.

    Raises:
        DiskFullError: there is no room for the file.
    """
    partial = partial_path(path, shared)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if durable:
                with partial.open("rb") as file:
                    # Else the new name may reach the disk before the bytes, and name an empty file.
                    os.fsync(file.fileno())
            os.replace(partial, path)
        # KeyboardInterrupt too: a program that is stopped leaves nothing half-written.
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all; a text in UTF-8.

    Raises:
        DiskFullError: there is no room for the file.
    """
    with replacing(path, durable=True) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As `replacing` for several files or folders, which take their names at once after the block.

    They are renamed one by one; `clear_leftovers` knows what a kill between two of them leaves.

    Raises:
        DiskFullError: there is no room for one of them.
    """
    partials = [partial_path(path, shared=True) for path in paths]
    try:
        for path in paths:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        yield partials
        _take_places(list(zip(partials, paths, strict=True)))
    finally:
        # The last first: see `clear_leftovers`. Nothing is left there after a success.
        for partial in reversed(partials):
            remove(partial)


def _take_places(renames: list[tuple[Path, Path]]) -> None:
    if not renames:
        return
    try:
        take_place(*renames[0])
    # After Ctrl-C too: half of what belongs together would be in the way of the same command.
    finally:
        _take_places(renames[1:])


def take_place(partial: Path, path: Path) -> None:
    """Rename a finished file or folder to `path`, in place of what has that name."""
    if not path.is_dir():
        os.replace(partial, path)
        return
    # A rename cannot replace a folder that holds files. The old folder keeps all of them under
    # another name until the new one is in place, in case this process is killed between the two.
    old = partial.with_name(f"{partial.name.removesuffix('.partial')}.old.partial")
    os.replace(path, old)
    os.replace(partial, path)
    remove(old)


def remove(path: Path) -> None:
    """Delete a file or a folder with all in it, if there is one; a folder as far as it can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def clear_leftovers(paths: Sequence[Path]) -> None:
    """Delete what killed processes left of files or folders that belong together.

    Partial files of a process that lives stay. Where a process was killed while its outputs took
    their names, those that have theirs are deleted too, since it is the same command's to write
    all of them again.
    """
    missing = [path for path in paths if not path.exists()]
    # The first of a group loses its partial name first: one that is there without its partial,
    # while a later one has only the partial, was renamed by the process that was killed.
    interrupted = {_process_of(leftover) for path in missing for leftover in _leftovers(path)}
    for path in paths if missing else ():
        processes = {_process_of(leftover) for leftover in _leftovers(path)}
        if path.exists() and interrupted - processes:
            remove(path)
    for path in reversed(paths):
        remove_partials(path)


def remove_partials(path: Path) -> None:
    """Delete what killed processes left beside a file or folder that several could write."""
    for leftover in _leftovers(path):
        if leftover.name.endswith(".old.partial") and not path.exists():
            # Killed while it replaced a folder: the old one is whole.
            os.replace(leftover, path)
        else:
            remove(leftover)


def remove_all_partials(folder: Path) -> None:
    """Delete what killed processes left in a folder whose files several could write."""
    for partial in folder.glob(".*.partial"):
        if _PROCESS.search(partial.name) and not _is_being_written(partial):
            remove(partial)


_PROCESS = re.compile(r"\.([0-9a-f]{8})-([0-9]+)-([0-9]+)(\.old)?\.partial$")
"""End of the name of a partial file: machine, process, and when that process was started."""


def _process_of(partial: Path) -> str:
    match = _PROCESS.search(partial.name)
    return "-".join(match.groups()[:3]) if match else partial.name


def _leftovers(path: Path) -> list[Path]:
    """Partial files and folders of this name whose process has ended."""
    partials = path.parent.glob(f".{glob.escape(path.name)}.*.partial")
    return sorted(
        partial
        for partial in partials
        # Not those of a longer name that begins like this one.
        if _PROCESS.sub("", partial.name) in (f".{path.name}", partial.name)
        and not _is_being_written(partial)
    )


def _is_being_written(partial: Path) -> bool:
    match = _PROCESS.search(partial.name)
    if match is not None and match[1] == _machine():
        # Numbers of processes come again; with its start it is the same process.
        return _start_of(int(match[2])) == match[3]
    return time.time() - _last_change(partial) < FOREIGN_SECONDS


def _last_change(path: Path) -> float:
    """When a file, or anything in a folder, was last changed, in seconds since 1970."""
    times = [0.0]
    for entry in (path, *path.rglob("*")):
        # Its process may be alive, and rename it meanwhile.
        with suppress(OSError):
            times.append(entry.lstat().st_mtime)
    return max(times)


@cache
def _machine() -> str:
    """Eight letters for this machine, or this container: processes have numbers of their own."""
    namespace = Path("/proc/self/ns/pid")
    with suppress(OSError):
        name = f"{socket.gethostname()} {namespace.readlink()}"
        return hashlib.sha256(name.encode()).hexdigest()[:8]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _start_of(process: int) -> str:
    """When a process was started, in the system's ticks; "" for one that has ended."""
    try:
        # The name in parentheses may hold blanks; the state is the first word behind it.
        words = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] == "Z" else words[19]


def require_disk(path: Path, needed: float, purpose: str) -> None:
    """Check that `needed` bytes are free where `path` is or will be.

    Raises:
        FibsegError: fewer are free; the message says that `purpose` needs them.
    """
    # A folder that does not exist yet will lie on the disk of its nearest parent.
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FibsegError(
            f"{existing}: {purpose} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; "
            "make room."
        )
