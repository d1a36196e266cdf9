"""What the servers on this machine share: the loopback address, a token, and quiet answers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, Self

_BLOCK = 1 << 20
"""Bytes that are read of a file at a time."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # The address holds the token.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class LoopbackServer(ThreadingHTTPServer):
    """Serves on the loopback address, to anyone who knows the token.

    Attributes:
        token: first part of every path.
    """

    daemon_threads = True

    def __init__(self, port: int, handler: type[LoopbackHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.token = secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        """The address of what the token opens, with a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve in a thread until the block ends."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()

    # A wrong address, or a window that was closed or moved on, is no error of the server.
    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a connection that broke."""


class LoopbackHandler(BaseHTTPRequestHandler):
    """Sends headers and files, and says nothing of itself.

    Attributes:
        fixed_headers: headers of every answer of this kind of server.
    """

    fixed_headers: Mapping[str, str]
    server_version = "fibseg"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    # A window that was closed holds its thread no longer than this many seconds.
    timeout = 60

    def end_with(self, headers: Mapping[str, str]) -> None:
        """Send these headers, and those of every answer."""
        for name, value in {**headers, **self.fixed_headers, **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_bytes(self, file: BinaryIO, size: int) -> None:
        """Send what follows in a file: as much as promised, though a log grows meanwhile."""
        while size > 0 and (block := file.read(min(size, _BLOCK))):
            self.wfile.write(block)
            size -= len(block)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page asks every few seconds, a viewer for hundreds of chunks."""
