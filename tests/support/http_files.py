"""A server of files on loopback that knows ranges, and can break off."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class FileServer(ThreadingHTTPServer):
    """Serves a folder.

    `break_after`: bytes of a body after which the next connection is closed. `with_version`:
    whether answers have an ETag. `with_if_range`: whether If-Range is heeded. `headers`: that
    answers have in place of their own; None leaves one out. `moved_to`: address to which each
    request is sent on. `requests` lists path and range of each
    request.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), partial(_Handler))
        self.folder = folder
        self.break_after: int | None = None
        self.with_version = True
        self.with_if_range = True
        self.moved_to = ""
        self.headers: dict[str, str | None] = {}
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.server.requests.append((self.path, span))
        if self.server.moved_to:
            self.send_response(302)
            self.send_header("Location", self.server.moved_to)
            self.end_headers()
            return
        path = self.server.folder / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        version = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        first = 0
        same = not self.server.with_if_range or self.headers.get("If-Range", version) == version
        if span and same:
            first = int(span.removeprefix("bytes=").split("-")[0])
        if first and first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        headers: dict[str, str | None] = {"Content-Length": str(len(content) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if self.server.with_version:
            headers["ETag"] = version
        for name, value in (headers | self.server.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        body = content[first:]
        if self.server.break_after is not None:
            body = body[: self.server.break_after]
            self.server.break_after = None
            self.close_connection = True
        # Who asked may have read enough.
        with suppress(ConnectionError):
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve a folder on loopback within a block."""
    server = FileServer(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
