"""Archives that are whole, and archives that somebody made to do harm."""

from __future__ import annotations

import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fibseg.data.public.unpacking import unpack
from fibseg.errors import FibsegError


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_the_files_of_the_globs_are_unpacked_and_no_others(tmp_path: Path) -> None:
    files = {
        name: name.encode() for name in ("a/in/0.png", "a/in/1.png", "a/0.png", "a/in/b/2.png")
    }
    unpack(make_zip(tmp_path / "a.zip", files), ["a/in/*.png"], tmp_path / "to")
    found = sorted(path.relative_to(tmp_path / "to") for path in (tmp_path / "to").rglob("*.png"))
    assert [str(path) for path in found] == ["a/in/0.png", "a/in/1.png"]
    assert (tmp_path / "to" / "a/in/1.png").read_bytes() == b"a/in/1.png"


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "a\\out.png"])
def test_a_name_that_leaves_the_folder_stops_the_whole_archive(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("a/0.png", b"good")
        entry = zipfile.ZipInfo("placeholder")
        # ZipInfo itself would take backslashes for slashes.
        entry.filename = name
        content.writestr(entry, b"bad")
    with pytest.raises(FibsegError, match="leaves its folder; nothing is unpacked") as caught:
        unpack(archive, ["a/*.png"], tmp_path / "to")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "to").exists()
    assert not (tmp_path / "out.png").exists()


def test_a_link_stops_the_whole_archive(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a/0.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(FibsegError, match="nothing is unpacked"):
        unpack(tmp_path / "a.zip", ["a/*.png"], tmp_path / "to")


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/0.png": bytes(30_000_000)})
    assert archive.stat().st_size < 60_000
    # Deflate reaches a ratio of 1,032 at most: two entries can share their bytes.
    content = bytearray(archive.read_bytes())
    place = content.rfind((30_000_000).to_bytes(4, "little"))
    content[place : place + 4] = (2_000_000_000).to_bytes(4, "little")
    archive.write_bytes(bytes(content))
    with pytest.raises(FibsegError, match=r"that unpack to 2e\+03 MB; nothing is unpacked"):
        unpack(archive, ["a/*.png"], tmp_path / "to")


@pytest.mark.parametrize("damage", ["flipped", "cut", "text"])
def test_a_damaged_archive_is_one_sentence(tmp_path: Path, damage: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/0.png": bytes(range(256)) * 40})
    content = bytearray(archive.read_bytes())
    if damage == "flipped":
        content[60] ^= 0xFF
    archive.write_bytes(
        {"flipped": bytes(content), "cut": bytes(content[:-30]), "text": b"<html>"}[damage]
    )
    with pytest.raises(FibsegError, match="no zip, or a damaged one") as caught:
        unpack(archive, ["a/*.png"], tmp_path / "to")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_no_damage_of_an_archive_is_a_traceback(tmp_path: Path, method: int) -> None:
    """Stored, deflated, bzip2 and LZMA: each decompressor has errors of its own."""
    archive = tmp_path / "a.zip"
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w", method) as content:
        content.writestr("a/0.png", generator.integers(0, 9, 4000, dtype=np.uint8).tobytes())
        content.writestr("a/\xe9.png", b"abc" * 500)
    whole = archive.read_bytes()
    refused = 0
    with warnings.catch_warnings():
        # Two entries of one name.
        warnings.simplefilter("ignore")
        for trial in range(300):
            damaged = bytearray(whole)
            # The records at the end as often as all the rest.
            first = len(whole) - 200 if trial % 2 else 0
            damaged[generator.integers(first, len(whole))] = generator.integers(256)
            archive.write_bytes(damaged)
            try:
                unpack(archive, ["a/*.png"], tmp_path / "to")
            except FibsegError:
                refused += 1
    assert refused > 100


def test_the_entry_of_a_folder_is_no_file(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/0.png/": b"", "a/1.png": b"b"})
    unpack(archive, ["a/*.png"], tmp_path / "to")
    assert [path.name for path in (tmp_path / "to" / "a").iterdir()] == ["1.png"]
