"""`fibseg watch`: the runs of a folder in a browser, while they train."""

from __future__ import annotations

import argparse
import errno
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fibseg.errors import FibsegError, Terminated
from fibseg.machine import raise_terminated
from fibseg.pages.live.server import serving
from fibseg.rules import Check, number, require, whole
from fibseg.runs.directory import is_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fibseg watch`."""
    parser.add_argument("folder", type=Path, help="folder of runs; it may still be empty")
    parser.add_argument(
        "--port", type=int, default=8765, help="port on this machine; 0 for a free one"
    )
    parser.add_argument(
        "--every",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="seconds between two looks at the folder (default: 5)",
    )


def run(options: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    require(
        Check("--port", options.port, whole(0, 65535)),
        Check("--every", options.every, number(1, 3600)),
    )
    if not options.folder.is_dir():
        raise FibsegError(f"{options.folder}: no such folder.")
    if is_run(options.folder):
        raise FibsegError(f"{options.folder}: a run; name the folder that holds runs.")
    with (
        until_stopped(options.port),
        serving(options.folder, options.port, options.every) as server,
    ):
        print(f"{server.url}   (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)


@contextmanager
def until_stopped(port: int) -> Iterator[None]:
    """Let Ctrl-C and a closed terminal end a block that serves on a port of this machine.

    Raises:
        FibsegError: another program has the port.
    """
    try:
        with _ended_by_hangup():
            yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise FibsegError(
            f"--port {port}: another program has it; name another one, or 0 for a free one."
        ) from error
    except Terminated:
        raise
    # It is how a person ends it.
    except KeyboardInterrupt:
        return


@contextmanager
def _ended_by_hangup() -> Iterator[None]:
    """A terminal that is closed ends the block, too, unless nohup keeps it."""
    is_ours = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGHUP, raise_terminated)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
