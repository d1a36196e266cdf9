"""Compiled functions work whatever has become of the files that numba keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource, sys
from fibseg.compiled import compiled
if "--small-files" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

from one_more import one_more
print(compiled(one_more)(1))
"""

SOURCE = """
def one_more(number):
    return number + 1
"""


def one_more(folder: Path, *arguments: str) -> str:
    """What a program prints whose function lies in a folder."""
    (folder / "one_more.py").write_text(SOURCE)
    path = os.pathsep.join([str(folder), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", CODE, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def kept(folder: Path, ending: str) -> list[Path]:
    return list((folder / "cache").rglob(f"*.{ending}"))


@pytest.mark.slow(seconds=8)
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_file_cut_short_is_compiled_anew(tmp_path: Path, ending: str) -> None:
    assert one_more(tmp_path) == "2\n"
    (file,) = kept(tmp_path, ending)
    whole = file.stat().st_size
    os.truncate(file, 10)
    assert one_more(tmp_path) == "2\n"
    (file,) = kept(tmp_path, ending)
    assert file.stat().st_size >= whole


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    assert one_more(tmp_path, "--small-files") == "2\n"
    assert kept(tmp_path, "nbc") == []


def test_no_folder_for_the_files(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert one_more(tmp_path) == "2\n"
