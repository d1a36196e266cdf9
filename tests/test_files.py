"""Files appear whole or not at all: after exceptions and kills, on a full disk, with rivals."""

import errno
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest

from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import (
    partial_path,
    remove_partials,
    replacing,
    require_disk,
    take_place,
    write_whole,
    writing,
)
from tests.support.processes import start_python


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    for text in ("first", "second"):
        with replacing(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_exception_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert names(tmp_path) == ([] if old is None else ["a.txt"])
    assert old is None or path.read_text() == old


def test_an_exception_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing"), replacing(tmp_path / "a.txt"):
        raise ValueError("nothing")
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from fibseg.files import replacing
with replacing(Path(sys.argv[1]), shared=sys.argv[2] == "shared") as partial:
    partial.write_text("half")
    {end}
"""


@pytest.mark.parametrize("end", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("writers", ["alone", "shared"])
def test_a_kill_leaves_the_old_file_and_one_partial(tmp_path: Path, end: str, writers: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    process = start_python(KILLED.format(end=end), path, writers)
    process.communicate()
    assert process.returncode in (7, -signal.SIGKILL)
    assert path.read_text() == "old"
    number = f".{process.pid}" if writers == "shared" else ""
    assert names(tmp_path) == [f".a.txt{number}.partial", "a.txt"]
    # The next writer leaves nothing else behind.
    if writers == "shared":
        remove_partials(path)
    write_whole(path, "new")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def is_full(*_: object) -> None:
        # The system names no file here.
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.txt"
    path.write_text("old")
    # File systems that allocate late report a full disk when the bytes are synced.
    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(DiskFullError) as caught:
        write_whole(path, "new")
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert reason in str(caught.value)
    # Who can do without the file goes on after any failed write.
    assert isinstance(caught.value, OSError) and isinstance(caught.value, FibsegError)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_the_innermost_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match="inner: cannot"),
        writing(tmp_path / "outer"),
        writing(tmp_path / "inner"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_another_error_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), writing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no", "b")


LIMITED = """
import resource, signal, sys
from pathlib import Path
from fibseg.files import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"a" * 2000)
except OSError as error:
    print(error)
"""


def test_a_limit_of_the_system(tmp_path: Path) -> None:
    output, _ = start_python(LIMITED, tmp_path / "a").communicate()
    assert output.startswith(f"{tmp_path}/a: cannot be written: files may not")
    assert names(tmp_path) == []


def test_bytes_are_synced_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync = os.fsync
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("sync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("rename"), replace(*paths)))
    write_whole(tmp_path / "a.txt", "µ")
    assert steps == ["sync", "rename"]
    assert (tmp_path / "a.txt").read_bytes() == "µ".encode()


SHARED = """
import sys
from pathlib import Path
from fibseg.files import replacing
for _ in range(200):
    with replacing(Path(sys.argv[1]), shared=True) as partial:
        partial.write_text(sys.argv[2] * 10000)
"""


def test_several_writers_never_show_a_mixed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a" * 10000)
    writers = [start_python(SHARED, path, letter) for letter in "ab"]
    contents = set()
    while any(writer.poll() is None for writer in writers):
        contents.add(path.read_text())
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert contents <= {"a" * 10000, "b" * 10000}
    assert names(tmp_path) == ["a.txt"]


def test_names_of_partial_files_lie_beside_the_target(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert partial_path(path) == tmp_path / ".a.txt.partial"
    assert partial_path(path, shared=True) == tmp_path / f".a.txt.{os.getpid()}.partial"


def test_only_the_partials_of_a_name_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a[1].zarr"
    for name in (".a[1].zarr.17.partial", ".a[1].zarr.18.old.partial"):
        (tmp_path / name / "0").mkdir(parents=True)
    (tmp_path / ".a[1].zarr.19.partial").touch()
    for name in (".a1.zarr.17.partial", ".b.zarr.17.partial", "a[1].zarr"):
        (tmp_path / name).touch()
    remove_partials(path)
    assert names(tmp_path) == [".a1.zarr.17.partial", ".b.zarr.17.partial", "a[1].zarr"]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    for number in range(2):
        partial = partial_path(path, shared=True)
        partial.mkdir()
        (partial / str(number)).touch()
        take_place(partial, path)
        assert names(tmp_path) == ["a.zarr"]
        assert names(path) == [str(number)]


def test_too_little_room_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage(9, 9, 2e9))
    path = tmp_path / "not" / "yet" / "there"
    require_disk(path, 2e9, "a run")
    with pytest.raises(FibsegError, match=r"a run needs 3 GB, but 2 GB are free; make room\."):
        require_disk(path, 3e9, "a run")
    assert asked == [tmp_path, tmp_path]
