"""Files that are bombs, lead elsewhere, or cannot be read though they are whole."""

from __future__ import annotations

import errno
import json
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from fibseg.errors import FibsegError
from fibseg.stack import damage_named, open_colours, open_stack
from fibseg.stack.base import check_memory

DATA = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


def zarr_changed(path: Path, **changes: object) -> Path:
    """A store of version 2 whose metadata were changed afterwards."""
    options = {"chunks": (1, 6, 7), "zarr_format": 2, "compressors": numcodecs.Zlib()}
    zarr.create_array(path / "a.zarr", data=DATA, **options)
    file = path / "a.zarr" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path / "a.zarr"


def large_png(path: Path) -> Path:
    """46,000 x 46,000 pixels in about a megabyte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        total = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", total)

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(5751)) for _ in range(46000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 46000, 46000, 1, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path / "a.png"


def large_tiff(path: Path) -> Path:
    tifffile.imwrite(path / "a.tif", DATA[0], metadata=None)
    with tifffile.TiffFile(path / "a.tif", mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(2**20)
    return path / "a.tif"


def large_hdf5(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("a", shape=(5, 200_000, 200_000), dtype="u1", chunks=(1, 64, 64))
    return path / "a.h5"


def bomb_in_hdf5(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", (1, 8, 8), "u1", chunks=(1, 8, 8), compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**7)))
    return path / "a.h5"


def bomb_in_zarr(path: Path) -> Path:
    store = zarr_changed(path)
    (store / "0.0.0").write_bytes(zlib.compress(bytes(10**7)))
    return store


def lz4_that_lies(path: Path) -> Path:
    options = {"chunks": (1, 6, 7), "zarr_format": 2, "compressors": numcodecs.LZ4()}
    zarr.create_array(path / "a.zarr", data=DATA, **options)
    chunk = path / "a.zarr" / "0.0.0"
    chunk.write_bytes(struct.pack("<I", 2**31 - 1) + chunk.read_bytes()[4:])
    return path / "a.zarr"


class Opened:
    """What a pickle opens when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def pickled_chunk(path: Path) -> Path:
    store = zarr_changed(path, compressor={"id": "pickle"})
    (store / "0.0.0").write_bytes(pickle.dumps(Opened(path / "opened")))
    return store


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (large_png, "a slice has at most 1073741824 pixels"),
        (large_tiff, "a slice has at most 1073741824 pixels"),
        (large_hdf5, "a slice has at most 1073741824 pixels"),
        (lambda path: zarr_changed(path, shape=[10**9] * 3), "a slice has at most"),
        (lambda path: zarr_changed(path, chunks=[10**5, 10**5, 100]), "a chunk needs 2e.03 GB"),
        (bomb_in_hdf5, "damaged.*list of chunks"),
        (bomb_in_zarr, "unpacks to 43 bytes and has room for 42"),
        (lz4_that_lies, "unpacks to 2147483647 bytes"),
        (pickled_chunk, "cannot be read|not read here"),
    ],
)
def test_sizes_are_asked_before_memory_is(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path)
    with pytest.raises(FibsegError, match=message):
        list(open_stack(path))
    assert not (tmp_path / "opened").exists()


def test_a_codec_that_is_not_read_is_named(tmp_path: Path) -> None:
    store = zarr_changed(tmp_path, filters=[{"id": "base64"}])
    with pytest.raises(FibsegError, match="codec base64, which is not read here; save it with"):
        open_stack(store)


def test_a_part_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(FibsegError, match=r"x: a chunk needs 2e\+06 GB of memory"):
        check_memory("x", 10**15, "a chunk")


def external_storage(path: Path, elsewhere: Path) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("a", (1, 6, 7), "u1", external=[(str(elsewhere / "b.bin"), 0, 42)])
    return f"{path}/a.h5"


def external_link(path: Path, elsewhere: Path) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        file["a"] = h5py.ExternalLink(str(elsewhere / "b.h5"), "/b")
    return f"{path}/a.h5:/a"


def virtual_dataset(path: Path, elsewhere: Path) -> str:
    layout = h5py.VirtualLayout((5, 6, 7), "u1")
    layout[:] = h5py.VirtualSource(str(elsewhere / "b.h5"), "b", (5, 6, 7))
    with h5py.File(path / "a.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    return f"{path}/a.h5"


def linked_chunk(path: Path, elsewhere: Path) -> str:
    zarr.create_array(path / "a.zarr", data=DATA, chunks=(5, 6, 7), compressors=None)
    chunk = path / "a.zarr" / "c" / "0" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(elsewhere / "b.bin")
    return f"{path}/a.zarr"


def linked_array(path: Path, elsewhere: Path) -> str:
    zarr.open_group(path / "a.zarr", mode="w")
    (path / "a.zarr" / "a").symlink_to(elsewhere / "b.zarr")
    return f"{path}/a.zarr/a"


@pytest.mark.parametrize(
    "write", [external_storage, external_link, virtual_dataset, linked_chunk, linked_array]
)
def test_files_elsewhere_are_not_read_as_pixels(
    write: Callable[[Path, Path], str], tmp_path: Path
) -> None:
    """They are where they lie in the same folder."""
    for name in ("data", "secret"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "b.bin").write_bytes(DATA.tobytes())
        zarr.create_array(folder / "b.zarr", data=DATA)
        with h5py.File(folder / "b.h5", "w") as file:
            file["b"] = DATA
    with pytest.raises(FibsegError, match="outside the folder"):
        list(open_stack(write(tmp_path / "data", tmp_path / "secret")))
    stack = open_stack(write(tmp_path / "secret", tmp_path / "secret"))
    np.testing.assert_array_equal(list(stack), DATA[: stack.shape[0]])


def test_a_missing_part_of_a_virtual_dataset_is_no_zeros(tmp_path: Path) -> None:
    path = virtual_dataset(tmp_path, tmp_path)
    with pytest.raises(FibsegError, match=r"b\.h5, which is not there"):
        open_stack(path)


def test_a_store_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").mkdir()
    zarr.create_array(tmp_path / "disk" / "a.zarr", data=DATA)
    (tmp_path / "work" / "mine.zarr").symlink_to(tmp_path / "disk" / "a.zarr")
    np.testing.assert_array_equal(list(open_stack(tmp_path / "work" / "mine.zarr")), DATA)


@pytest.mark.parametrize(
    "url", ["file:///etc", "memory://a.zarr", "simplecache::http://host/a.zarr", "reference://a"]
)
def test_urls_that_lead_to_this_machine(url: str) -> None:
    with pytest.raises(FibsegError, match=r"a URL of the kind .*expected one of http"):
        open_stack(url)


def test_missing_chunks_are_doubted(tmp_path: Path) -> None:
    store = zarr_changed(tmp_path)
    assert open_stack(store).doubts == ()
    (store / "3.0.0").unlink()
    assert "1 of 5 chunks are not stored, and read as 0" in open_stack(store).doubts[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (5, 6, 7), "u1", chunks=(1, 6, 7))[:2] = 1
    assert "3 of 5 chunks are not stored" in open_stack(tmp_path / "a.h5").doubts[0]


def test_a_cut_strip_of_jpeg_is_refused(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([smooth] * 3), compression="jpeg", photometric="minisblack"
    )
    stack = open_stack(tmp_path / "a.tif")
    assert "compressed as JPEG" in stack.doubts[0]
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[1]
        start = page.dataoffsets[0]
        length = page.databytecounts[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start + length // 2 : start + length] = bytes(length - length // 2)
    (tmp_path / "a.tif").write_bytes(content)
    damaged = open_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(damaged.read(0), stack.read(0))
    with pytest.raises(FibsegError, match=r"slice 1: .*JPEG is cut off"):
        damaged.read(1)


def test_a_file_that_another_program_writes(tmp_path: Path) -> None:
    script = (
        "import h5py, sys, numpy\n"
        "file = h5py.File(sys.argv[1], 'w'); file['a'] = numpy.zeros((2, 3, 4)); file.flush()\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", script, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(FibsegError, match="another program has it open") as raised:
            open_stack(path)
        assert "damaged" not in str(raised.value)
        writer.communicate("")
    assert open_stack(path).shape == (2, 3, 4)


def test_a_filter_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of the filter is changed in the file, as if a plugin had written it."""
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with h5py.File(tmp_path / "a.h5", "w", libver="earliest") as file:
        file.create_dataset("raw", data=DATA, chunks=(1, 6, 7), compression="lzf")
    content = (tmp_path / "a.h5").read_bytes()
    for number, name in ((32015, "Zstandard"), (32001, "Blosc"), (40000, "lzf")):
        # 32000 is LZF, which h5py has.
        changed = content.replace(struct.pack("<H", 32000), struct.pack("<H", number))
        (tmp_path / "a.h5").write_bytes(changed)
        with pytest.raises(FibsegError, match=rf"{name} \(filter {number}\).*pip install hdf5plug"):
            open_stack(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "no"), "no permission"),
        (FileNotFoundError(errno.ENOENT, "no"), "nothing is there"),
        (IsADirectoryError(errno.EISDIR, "no"), "it is a folder"),
        (MemoryError(), "too little memory"),
        (OSError(errno.EIO, "Input/output error"), "the disk or the network failed"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (OSError("unable to lock file, errno = 37, error message = 'No locks available'"), "LOCK"),
        (ImportError("No module named 'imagecodecs'"), "a library is not installed"),
        (ValueError("<COMPRESSION.JBIG: 34661> not supported"), "its compression is not known"),
        (ValueError("codec not available: 'lerc'"), "its compression is not known"),
        (ValueError("bad bytes"), "the file is damaged"),
    ],
)
def test_what_is_not_damage_is_not_called_damage(error: Exception, words: str) -> None:
    with pytest.raises(FibsegError, match=words) as raised, damage_named("a.tif", 3):
        raise error
    assert str(raised.value).startswith("a.tif, slice 3: cannot be read, ")
    assert ("damaged" in str(raised.value)) == (words == "the file is damaged")


def test_a_file_of_another_format_and_one_of_several_pictures(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(FibsegError, match="no image of the kind PNG"):
        open_stack(tmp_path / "a.png")
    frames = [Image.new("L", (4, 4), 3)]
    Image.new("L", (4, 4)).save(tmp_path / "b.png", save_all=True, append_images=frames)
    with pytest.raises(FibsegError, match="several pictures"):
        open_stack(tmp_path / "b.png").read(0)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "c.png")
    with pytest.raises(FibsegError, match="colours of 16 bits"):
        open_colours(tmp_path / "c.png")
