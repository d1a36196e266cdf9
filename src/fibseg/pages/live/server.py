"""A server on this machine that shows a folder of runs, and only reads it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fibseg.pages.live.page import listing, live_page
from fibseg.pages.live.states import Watcher, page_content
from fibseg.pages.loopback import LoopbackHandler, LoopbackServer

_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine in a browser; any other is a page elsewhere that points its name here."""

_TYPES = {".png": "image/png", ".html": "text/html; charset=utf-8"}
_TEXTS = {"", ".csv", ".json", ".log", ".md", ".tex", ".txt", ".yaml"}
"""Endings of files that a browser shows as text; others are downloaded."""

_SECURITY = {
    # Files of runs are data: none of them may bring a script, and no other page may frame these.
    "Content-Security-Policy": "default-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'",
}


class LiveServer(LoopbackServer):
    """Serves the states of a folder of runs.

    Attributes:
        interval: seconds between two looks at the folder.
    """

    def __init__(self, folder: Path, port: int, interval: float) -> None:
        # Before the port is taken: where that fails, the base class calls server_close.
        self._comparison = _Comparison(folder)
        self._lock = threading.Lock()
        self._closed = False
        super().__init__(port, _Handler)
        self.interval = interval
        self._folder = folder
        self._watcher = Watcher(folder)
        self._content = b""
        self._looked = 0.0

    def content(self) -> bytes:
        """States of the runs as JSON, at most `interval` old."""
        # Nobody looks, nothing is read; many windows read once.
        with self._lock:
            if not self._closed and time.monotonic() - self._looked >= self.interval:
                runs = self._watcher.look()
                finished = sorted(run.path for run in runs if run.state == "finished")
                content = page_content(runs) | {
                    "folder": str(self._folder),
                    "interval": self.interval,
                    "comparison": self._comparison.version(finished),
                    "comparison_error": self._comparison.error,
                }
                self._content = json.dumps(content, separators=(",", ":")).encode()
                self._looked = time.monotonic()
            return self._content

    def file(self, words: str) -> Path | None:
        """The file or folder behind a path below the token; None for what must not be served."""
        part, _, below = words.partition("/")
        if part == "comparison":
            root = self._comparison.folder
        elif part == "runs":
            root = self._folder
        else:
            return None
        try:
            root = root.resolve()
            path = (root / below).resolve()
        # A null byte, or a loop of links.
        except (OSError, ValueError):
            return None
        # After links are followed: neither .. nor a link leads out.
        return path if path.is_relative_to(root) else None

    def server_close(self) -> None:
        """Stop the comparison that is being made, and remove what it wrote."""
        super().server_close()
        # A window may ask at this moment.
        with self._lock:
            self._closed = True
            self._comparison.close()


class _Comparison:
    """The comparison of the finished runs, made by a process of its own when there are new ones."""

    def __init__(self, folder: Path) -> None:
        self._parent = tempfile.TemporaryDirectory(prefix="fibseg-watch-")
        self.folder = Path(self._parent.name).resolve() / "comparison"
        # The page links runs relative to itself: beside it they have the place that they have here.
        self._runs = self.folder.parent / "runs"
        self._runs.symlink_to(folder.resolve(), target_is_directory=True)
        self._watched = folder
        self._compared: list[Path] = []
        self._process: subprocess.Popen[str] | None = None
        self._version = 0
        self.error = ""

    def version(self, finished: list[Path]) -> int:
        """How often the page has been made; 0 before the first time. Makes it anew if need be."""
        if self._process is not None and self._process.poll() is not None:
            _, errors = self._process.communicate()
            self._version += self._process.returncode == 0
            lines = errors.strip().splitlines() if self._process.returncode else []
            self.error = lines[-1] if lines else ""
            self._process = None
        if self._process is None and finished and finished != self._compared:
            self._compared = finished
            below = (path.parent.relative_to(self._watched) for path in finished)
            # Relative, so that the page names no folder that is gone tomorrow.
            folders = dict.fromkeys(str(Path("runs") / place) for place in below)
            # Trainings come first.
            nice = ["nice", "-n", "10"] if shutil.which("nice") else []
            command = [*nice, sys.executable, "-m", "fibseg.commands.main", "compare", *folders]
            self._process = subprocess.Popen(
                [*command, "--output", "comparison"],
                cwd=self.folder.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        return self._version

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._parent.cleanup()


class _Handler(LoopbackHandler):
    """Answers GET and nothing else."""

    server: LiveServer
    fixed_headers = _SECURITY

    def do_GET(self) -> None:
        """Answer with the page, the states, or a file of the runs."""
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return self._refuse(HTTPStatus.FORBIDDEN, "This page is served to this machine only.")
        token, _, words = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return self._refuse(HTTPStatus.FORBIDDEN, "The token in the address is wrong.")
        if not words:
            return self._answer(live_page().encode(), _TYPES[".html"])
        if words == "state.json":
            return self._answer(self.server.content(), "application/json")
        path = self.server.file(words)
        # Neither a pipe, which would never end, nor a device.
        if path is None or not (path.is_file() or path.is_dir()):
            return self._refuse(HTTPStatus.NOT_FOUND, "There is no such file.")
        if path.is_dir():
            return self._answer(listing(path).encode(), _TYPES[".html"])
        return self._send_file(path, is_page=words == "comparison/index.html")

    def _answer(self, content: bytes, kind: str) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        is_known = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        length = 0 if is_known else len(content)
        self.end_with({"Content-Type": kind, "Content-Length": str(length), "ETag": tag})
        if not is_known:
            self.wfile.write(content)

    def _send_file(self, path: Path, is_page: bool) -> None:
        ending = path.suffix.lower()
        kind = "text/plain; charset=utf-8" if ending in _TEXTS else "application/octet-stream"
        # Only the page that fibseg made is HTML here.
        if ending in _TYPES and (is_page or ending != ".html"):
            kind = _TYPES[ending]
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.send_response(HTTPStatus.OK)
            self.end_with({"Content-Type": kind, "Content-Length": str(size)})
            self.send_bytes(file, size)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.send_response(status)
        self.end_with(
            {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(sentence))}
        )
        if self.command != "HEAD":
            self.wfile.write(sentence.encode())

    def __getattr__(self, name: str) -> object:
        # The base class looks for do_POST and the like.
        if name.startswith("do_"):
            return self._only_get
        raise AttributeError(name)

    def _only_get(self) -> None:
        # What was sent is not read, so that the connection cannot be used again.
        self.close_connection = True
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is answered.")


def serving(folder: Path, port: int, interval: float) -> AbstractContextManager[LiveServer]:
    """Serve a folder of runs until the block ends.

    Args:
        folder: run directories, or folders of them.
        port: port on the loopback address; 0 for any that is free.
        interval: seconds between two looks.

    Raises:
        OSError: the port is taken.
    """
    return LiveServer(folder, port, interval).running()
