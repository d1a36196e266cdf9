"""Files appear whole or not at all: after exceptions and kills, on a full disk, with rivals."""

import errno
import os
import re
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import pytest

from fibseg.errors import DiskFullError, FibsegError
from fibseg.files import (
    clear_leftovers,
    partial_path,
    remove_partials,
    replacing,
    replacing_together,
    require_disk,
    take_place,
    write_whole,
    writing,
)
from tests.support.processes import partial_of, start_python


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
    number = rf"\.[0-9a-f]{{8}}-{process.pid}-[0-9]+" if writers == "shared" else ""
    partial, whole = names(tmp_path)
    assert re.fullmatch(rf"\.a\.txt{number}\.partial", partial) and whole == "a.txt"
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
    shared = partial_path(path, shared=True)
    assert shared.parent == tmp_path and f"-{os.getpid()}-" in shared.name


def test_only_the_partials_of_a_name_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a[1].zarr"
    (partial_of(path, 1) / "0").mkdir(parents=True)
    partial_of(path, 2).touch()
    others = [tmp_path / name for name in ("a1.zarr", "b.zarr", "a[1].zarr.b")]
    kept = [path, *(partial_of(other, 1) for other in others)]
    for other in kept:
        other.touch()
    remove_partials(path)
    assert names(tmp_path) == sorted(other.name for other in kept)


def test_a_partial_of_a_process_that_lives_stays(tmp_path: Path) -> None:
    """The number of a process may come again, and numbers of other machines say nothing."""
    path = tmp_path / "a.zarr"
    living = partial_path(path, shared=True)
    foreign = partial_of(path, os.getpid(), machine="0" * 8)
    old = partial_of(path, os.getpid(), machine="1" * 8)
    earlier = partial_of(path, os.getpid())
    for partial in (living, foreign, old, earlier):
        (partial / "0").mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(foreign, (two_days_ago, two_days_ago))
    os.utime(old / "0", (two_days_ago, two_days_ago))
    remove_partials(path)
    assert names(tmp_path) == sorted([living.name, foreign.name])


def test_a_folder_whose_replacement_was_killed_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    partial = partial_of(path, 1)
    old = partial.with_name(f"{partial.name.removesuffix('.partial')}.old.partial")
    (old / "old").mkdir(parents=True)
    partial.mkdir()
    remove_partials(path)
    assert names(tmp_path) == ["a.zarr"]
    assert names(path) == ["old"]


KILLED_BETWEEN = """
import os, sys
from pathlib import Path
from fibseg.files import clear_leftovers, replacing_together
paths = [Path(name) for name in sys.argv[2:]]
count = 0
replace = os.replace
def replace_or_die(*names):
    global count
    if count == int(sys.argv[1]):
        os._exit(7)
    count += 1
    replace(*names)
os.replace = replace_or_die
clear_leftovers(paths)
assert not [path for path in paths if path.exists()]
with replacing_together(paths) as partials:
    for partial in partials:
        partial.write_text("whole")
"""


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    """Killed between two renames, as often as it happens, the same command starts anew."""
    paths = [tmp_path / name for name in ("a.csv", "b.tif", "c.tif")]
    for renames in (0, 1, 2, 1, 3):
        process = start_python(KILLED_BETWEEN, str(renames), *paths)
        process.communicate()
        assert process.returncode == (7 if renames < 3 else 0)
        assert [path.exists() for path in paths] == [k < renames for k in range(3)]
    assert names(tmp_path) == ["a.csv", "b.tif", "c.tif"]


def test_a_file_that_was_there_before_a_kill_stays(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.tif"]
    for path in paths:
        partial_of(path, 1).touch()
    paths[0].write_text("old")
    clear_leftovers(paths)
    assert names(tmp_path) == ["a.csv"]
    assert paths[0].read_text() == "old"


def test_an_exception_among_files_that_belong_together(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError),
        replacing_together([tmp_path / "a", tmp_path / "b"]) as partials,
    ):
        partials[0].write_text("half")
        raise ValueError
    assert names(tmp_path) == []


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
