"""Programs that are disturbed at a file operation with a chosen number.

Operations are those by which a program changes files below a folder: opening for writing, syncing,
renaming, deleting, making a folder, changing a length; not those that change nothing. They are
counted in one process, and the deed is done at one of them:

- "kill": the process is killed before the operation.
- "tear": the file that was opened by the operation before, or that is synced or renamed by this
  one, loses its second half, as if the process had been killed while it wrote; then as "kill".
- "full": the disk is full from this operation on: what needs room fails, and the system names no
  file.
- "limit": from this operation on, the system lets no file grow beyond LIMIT_BYTES, so that writes
  themselves fail, in libraries of C too, with a part of the file written.

Imported by the processes, so it imports little. As `sitecustomize` of a process it takes its order
from the environment.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ORDERS_VARIABLE = "FIBSEG_ATTACK"
"""Environment variable with a list of orders as JSON."""

DEEDS = ("kill", "tear", "full", "limit")

LIMIT_BYTES = 100

NEEDS_ROOM = ("open", "fsync", "mkdir", "truncate")
"""Operations that fail on a full disk; names can still be changed and files deleted."""


@dataclass(frozen=True)
class Order:
    """What is done to a process.

    Attributes:
        deed: one of DEEDS, or "count".
        number: of the operation, from 1 on.
        folders: operations on other files are not counted.
        report: file that takes a line for each operation that is counted.
        program: part of the command line of the process; others are left alone.
        unless: file that keeps a process alone once it exists; made by the deed.
    """

    deed: str
    number: int
    folders: Sequence[str]
    report: str
    program: str = ""
    unless: str = ""

    def __call__(self) -> None:
        """Begin to count in this process."""
        Attack(self).begin()


class Attack:
    """Counts the operations of this process, and does its deed at one of them."""

    def __init__(self, order: Order):
        self.order = order
        self.folders = tuple(os.path.realpath(folder) + os.sep for folder in order.folders)
        # In one step, since libraries write by several threads.
        self.numbers = itertools.count(1)
        self.last_opened: str | None = None
        self.is_full = False
        self.process = os.getpid()
        # Kept open: the report itself is no operation of the program.
        self.report = os.open(order.report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def begin(self) -> None:
        """Hear of every operation from now on."""
        sys.addaudithook(self.hear)
        # Of syncing there is no event.
        sync = os.fsync

        def fsync(file: Any) -> None:
            number = file if isinstance(file, int) else file.fileno()
            with suppress(OSError):
                self.operation("fsync", Path(f"/proc/self/fd/{number}").readlink())
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(file)

        os.fsync = fsync

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook; `arguments` are those of the event."""
        if event == "open":
            path, mode, flags = arguments
            is_writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if isinstance(path, (str, bytes)) and (
                is_writing or (mode and set(mode) & set("wax+"))
            ):
                self.operation("open", path)
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            # A number of a descriptor is no path.
            with suppress(TypeError):
                self.operation(event.removeprefix("os."), os.fspath(arguments[0]))

    def operation(self, name: str, path: str | bytes | os.PathLike[str]) -> None:
        """Count an operation, and do the deed where it is the one."""
        full_path = os.path.realpath(os.fsdecode(path))
        # A forked child has this hook, too.
        if not full_path.startswith(self.folders) or os.getpid() != self.process:
            return
        # Programs like to make folders that exist, and to delete files that do not.
        if name == "mkdir" if os.path.lexists(full_path) else name == "remove":
            return
        if self.is_full and name in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        number = next(self.numbers)
        # The limit on files holds for the report, too.
        with suppress(OSError):
            os.write(self.report, f"{name} {full_path}\n".encode())
        before = self.last_opened
        self.last_opened = full_path if name == "open" else None
        if number != self.order.number or not self._is_first():
            return
        if self.order.deed == "tear":
            torn = full_path if name in ("fsync", "rename") else before
            with suppress(OSError):
                if torn is not None:
                    os.truncate(torn, Path(torn).stat().st_size // 2)
        if self.order.deed in ("kill", "tear"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.order.deed == "limit":
            # Python ignores SIGXFSZ, so that the write fails and the process goes on.
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
        if self.order.deed == "full":
            self.is_full = True
            if name in NEEDS_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_first(self) -> bool:
        """Whether no other process has done the deed of this order."""
        if not self.order.unless:
            return True
        try:
            os.close(os.open(self.order.unless, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def environment_of(*orders: Order) -> dict[str, str]:
    """Environment by which processes take the first order that is for them."""
    return {ORDERS_VARIABLE: json.dumps([asdict(order) for order in orders])}


def install(folder: Path) -> None:
    """Write a `sitecustomize` by which every Python that finds it takes its order."""
    # The text of this module, since a process may have another search path.
    text = Path(__file__).read_text(encoding="utf-8")
    (folder / "sitecustomize.py").write_text(f"{text}\n\nbegin_by_environment()\n")


def begin_by_environment() -> None:
    """Take the first order of the environment that is for this process."""
    line = Path("/proc/self/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    for content in json.loads(os.environ.get(ORDERS_VARIABLE, "[]")):
        order = Order(**content)
        if order.program in line:
            order()
            return
