"""Downloads from a server on loopback: whole, broken, resumed, changed, missing."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fibseg.data.public.download import download
from fibseg.data.public.sets import PublicFile
from fibseg.errors import FibsegError
from tests.support.http_files import FileServer, serving

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(CONTENT)
    with serving(tmp_path / "served") as server:
        yield server


def fetch(server: FileServer, folder: Path, sha256: str | None = None) -> str:
    file = PublicFile(f"{server.url}/a.bin", "a.bin", sha256, "a person")
    return download(file, folder, lambda *_: None)


def test_a_file_comes_whole_with_its_checksum_and_is_asked_for_once(
    server: FileServer, tmp_path: Path
) -> None:
    there: list[tuple[int, int | None]] = []
    file = PublicFile(f"{server.url}/a.bin", "a.bin")
    assert download(file, tmp_path / "to", lambda *step: there.append(step)) == DIGEST
    assert (tmp_path / "to" / "a.bin").read_bytes() == CONTENT
    assert there[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(server, tmp_path / "to", DIGEST) == DIGEST
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a.bin"]


@pytest.mark.parametrize("sha256", [None, DIGEST])
def test_a_broken_download_goes_on_where_it_broke(
    server: FileServer, tmp_path: Path, sha256: str | None
) -> None:
    server.break_after = 2_000_000
    with pytest.raises(FibsegError, match=r"broke after 2.0 of 3.0 MB .* goes on from there"):
        fetch(server, tmp_path, sha256)
    assert not (tmp_path / "a.bin").exists()
    assert fetch(server, tmp_path, sha256) == DIGEST
    assert server.requests[1] == ("/a.bin", "bytes=2000000-")


def test_a_file_that_changed_since_the_break_is_taken_from_its_start(
    server: FileServer, tmp_path: Path
) -> None:
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path)
    changed = CONTENT[::-1]
    (server.folder / "a.bin").write_bytes(changed)
    assert fetch(server, tmp_path) == hashlib.sha256(changed).hexdigest()


def test_a_note_is_of_the_bytes_beside_it(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path)
    changed = CONTENT[::-1]
    (server.folder / "a.bin").write_bytes(changed)
    with monkeypatch.context() as full:
        usage = namedtuple("usage", "free")(0)
        full.setattr(shutil, "disk_usage", lambda _: usage)
        # Between the answer and its first byte.
        with pytest.raises(FibsegError, match="make room"):
            fetch(server, tmp_path)
    assert fetch(server, tmp_path) == hashlib.sha256(changed).hexdigest()


def test_the_rest_of_another_version_is_not_taken(server: FileServer, tmp_path: Path) -> None:
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path)
    changed = CONTENT[::-1]
    (server.folder / "a.bin").write_bytes(changed)
    server.with_if_range = False
    assert fetch(server, tmp_path) == hashlib.sha256(changed).hexdigest()
    assert server.requests[1:] == [("/a.bin", "bytes=1000000-"), ("/a.bin", "")]


@pytest.mark.parametrize(
    "value", [None, "bytes abc-2999999/3000000", "bytes", "bytes 7", "bytes 7-9/2" + "9" * 5000]
)
def test_a_part_without_its_place_is_one_sentence(
    server: FileServer, tmp_path: Path, value: str | None
) -> None:
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path)
    server.headers["Content-Range"] = value
    with pytest.raises(FibsegError, match="answers 206 with Content-Range") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value)
    server.headers.clear()
    assert fetch(server, tmp_path) == DIGEST


@pytest.mark.parametrize("value", ["abc", "-5", "9" * 5000])
def test_a_length_that_is_no_number_is_one_sentence(
    server: FileServer, tmp_path: Path, value: str
) -> None:
    server.headers["Content-Length"] = value
    with pytest.raises(FibsegError, match="answers 200 with Content-Length"):
        fetch(server, tmp_path)


def test_a_body_without_a_length_is_taken_to_its_end(server: FileServer, tmp_path: Path) -> None:
    server.headers["Content-Length"] = None
    assert fetch(server, tmp_path) == DIGEST


@pytest.mark.parametrize("headers", [{}, {"Content-Length": None}])
def test_a_body_larger_than_any_of_its_record_is_not_kept(
    server: FileServer, tmp_path: Path, headers: dict[str, str | None]
) -> None:
    server.headers = headers
    file = PublicFile(f"{server.url}/a.bin", "a.bin", largest=2_000_000)
    with pytest.raises(FibsegError, match=r"larger than the 0.002 GB that a.bin may have"):
        download(file, tmp_path / "to", lambda *_: None)
    assert not list((tmp_path / "to").iterdir())


def test_a_redirection_to_a_file_of_this_machine_is_one_sentence(
    server: FileServer, tmp_path: Path
) -> None:
    server.moved_to = "file:///etc/passwd"
    with pytest.raises(FibsegError, match="the server answers 302") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://[bad/a.bin", "http://a b/a.bin"])
def test_an_address_that_cannot_be_one_is_one_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(FibsegError, match="cannot be reached"):
        download(PublicFile(address, "a.bin"), tmp_path, lambda *_: None)


def test_without_a_version_and_a_checksum_nothing_is_resumed(
    server: FileServer, tmp_path: Path
) -> None:
    server.with_version = False
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path)
    assert fetch(server, tmp_path) == DIGEST
    assert server.requests[1] == ("/a.bin", "")


def test_without_a_version_a_checksum_is_enough_to_resume(
    server: FileServer, tmp_path: Path
) -> None:
    server.with_version = False
    server.break_after = 1_000_000
    with pytest.raises(FibsegError, match="broke"):
        fetch(server, tmp_path, DIGEST)
    assert fetch(server, tmp_path, DIGEST) == DIGEST
    assert server.requests[1] == ("/a.bin", "bytes=1000000-")


def test_a_part_that_is_longer_than_the_file_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.partial").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path, DIGEST) == DIGEST


def test_another_file_than_that_of_the_checksum_is_not_kept(
    server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(FibsegError, match=rf"SHA-256 {DIGEST}, but a person published 0{{64}} for"):
        fetch(server, tmp_path / "to", "0" * 64)
    assert not list((tmp_path / "to").iterdir())


def test_a_file_put_there_by_hand_is_checked_and_stays(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"other")
    with pytest.raises(FibsegError, match="changed or damaged"):
        fetch(server, tmp_path, DIGEST)
    assert (tmp_path / "a.bin").read_bytes() == b"other"
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert fetch(server, tmp_path, DIGEST) == DIGEST
    assert not server.requests


def test_a_missing_file_is_one_sentence(server: FileServer, tmp_path: Path) -> None:
    file = PublicFile(f"{server.url}/b.bin", "b.bin")
    with pytest.raises(FibsegError, match=r"answers 404 .* put it at .*b.bin") as caught:
        download(file, tmp_path, lambda *_: None)
    assert "\n" not in str(caught.value)


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file = PublicFile(f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin", "a.bin")
    with pytest.raises(FibsegError, match=r"cannot be reached \(.*refused\); is there a network"):
        download(file, tmp_path, lambda *_: None)


def test_a_host_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    file = PublicFile("http://nothing.invalid/a.bin", "a.bin")
    with pytest.raises(FibsegError, match=r"cannot be reached"):
        download(file, tmp_path, lambda *_: None)
