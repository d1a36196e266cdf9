"""A server on this machine that gives the files of pictures to a viewer in a browser."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fibseg.pages.loopback import LoopbackHandler, LoopbackServer
from fibseg.pages.neuroglancer.state import ShownPicture, segment_names

_ANY_ORIGIN = {
    # The viewer is a page of another server. Who may read is decided by the token.
    "Access-Control-Allow-Origin": "*",
    # What a page may read of an answer: the viewer asks for the length of a shard.
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range",
    # Chrome asks this before a page of the internet may read from this machine
    # (https://wicg.github.io/private-network-access).
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "3600",
}


class PictureServer(LoopbackServer):
    """Serves pictures.

    Behind the token a path has the number of a picture, and the name of its folder or `names`.
    """

    def __init__(self, pictures: Sequence[ShownPicture], port: int) -> None:
        super().__init__(port, _Handler)
        self._pictures = pictures

    @property
    def addresses(self) -> list[str]:
        """Where each picture is served, with a slash at the end."""
        return [f"{self.url}{number}/" for number in range(len(self._pictures))]

    def content(self, words: Sequence[str]) -> Path | bytes | None:
        """The file, or the bytes, behind a path that is divided at its slashes; None without any.

        Folders have no list of their files.
        """
        if len(words) < 4 or not secrets.compare_digest(words[0].encode(), self.token.encode()):
            return None
        if words[1] not in map(str, range(len(self._pictures))):
            return None
        picture = self._pictures[int(words[1])]
        if list(words[2:]) == ["names", "info"]:
            return json.dumps(segment_names(picture)).encode()
        if words[2] != picture.path.name:
            return None
        try:
            root = picture.path.resolve()
            path = root.joinpath(*words[3:]).resolve()
            # After links are followed: neither .. nor a link leads out. A pipe would never end.
            return path if path.is_relative_to(root) and path.is_file() else None
        # A null byte, a loop of links, or a folder that is not ours to read.
        except (OSError, ValueError):
            return None


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Read a header "Range" for a file of `size` bytes: from start to stop.

    None where the whole file is to be sent: without such a header, with one that asks for several
    ranges or is wrong (RFC 9110, 14.2). A start at or behind `size` cannot be served.

    >>> byte_range("bytes=2-4", 10), byte_range("bytes=-3", 10), byte_range("bytes=8-", 10)
    ((2, 5), (7, 10), (8, 10))
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        # The last so many bytes; none of them can be served.
        return (max(0, size - int(last)), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


class _Handler(LoopbackHandler):
    """Answers GET, HEAD and the question whether a page may ask."""

    server: PictureServer
    fixed_headers = _ANY_ORIGIN

    def do_GET(self) -> None:
        """Answer with a file or a part of it; HEAD with its length alone."""
        words = [unquote(word) for word in urlsplit(self.path).path.lstrip("/").split("/")]
        # A slash within a word was written as %2F to look like none.
        content = None if any("/" in word for word in words) else self.server.content(words)
        if content is None:
            return self._answer(HTTPStatus.NOT_FOUND, b"There is no such file.")
        if isinstance(content, bytes):
            return self._answer(HTTPStatus.OK, content, "application/json")
        return self._send_file(content)

    do_HEAD = do_GET

    def do_OPTIONS(self) -> None:
        """Allow pages of any server to ask for ranges of files."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_with(_PREFLIGHT | {"Content-Length": "0"})

    def _send_file(self, path: Path) -> None:
        is_json = path.suffix == ".json" or path.name in (".zarray", ".zattrs", ".zgroup")
        headers = {
            "Content-Type": "application/json" if is_json else "application/octet-stream",
            "Accept-Ranges": "bytes",
        }
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            part = byte_range(self.headers.get("Range", ""), size)
            start, stop = part or (0, size)
            if part is not None and start >= size:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return self.end_with({"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            if part is not None:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
            self.end_with(headers | {"Content-Length": str(stop - start)})
            if self.command == "HEAD":
                return None
            file.seek(start)
            self.send_bytes(file, stop - start)
        return None

    def _answer(self, status: HTTPStatus, content: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.end_with({"Content-Type": kind, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)


def serving_pictures(
    pictures: Sequence[ShownPicture], port: int
) -> AbstractContextManager[PictureServer]:
    """Serve the files of pictures until the block ends.

    Args:
        pictures: each in a folder of its own.
        port: port on the loopback address; 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """
    return PictureServer(pictures, port).running()
