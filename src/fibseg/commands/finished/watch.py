"""`fibseg watch`: the runs of a folder in a browser, while they train."""

from __future__ import annotations

import argparse
import errno
import time
from pathlib import Path

from fibseg.errors import FibsegError, Terminated
from fibseg.pages.live.server import serving
from fibseg.rules import Check, number, require, whole


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
    try:
        with serving(options.folder, options.port, options.every) as server:
            print(f"{server.url}   (Ctrl-C ends it)", flush=True)
            while True:
                time.sleep(3600)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise FibsegError(
            f"--port {options.port}: another program has it; name another one, or 0 for a free one."
        ) from error
    except Terminated:
        raise
    # It is how a person ends it.
    except KeyboardInterrupt:
        return
