"""One attempt to train a run, in this process."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from fibseg import runs
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.sweeps import job
from fibseg.sweeps.job import output_to, run_task, write_error


def test_an_error_before_the_training_is_no_death(tmp_path: Path) -> None:
    """It would come again with every attempt."""
    task: Any = SimpleNamespace(
        working_directory=tmp_path / "gone", directory=RunDirectory(tmp_path)
    )
    outcome = run_task(task, nullcontext(""))
    assert outcome.result.status == JobStatus.FAILED
    with pytest.raises(FibsegError, match="gone"):
        outcome.result.return_value  # noqa: B018


def test_all_output_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log.txt"
    log.parent.mkdir()
    log.write_text("before\n")
    with output_to(log):
        os.write(1, b"by a library\n")
        subprocess.run(["sh", "-c", "echo by a child >&2"], check=True)
    os.write(1, b"not in the log\n")
    assert log.read_text() == "before\nby a library\nby a child\n"


def test_error_txt_keeps_what_the_run_itself_wrote(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_error(directory, ValueError("of the attempt"), time.time())
    assert directory.error.read_text().endswith("ValueError: of the attempt\n")
    directory.error.write_text("of the run")
    write_error(directory, ValueError("again"), time.time())
    assert directory.error.read_text() == "of the run"
    directory.error.unlink()
    directory.scores.touch()
    write_error(directory, ValueError("after the end"), time.time())
    assert not directory.error.exists()


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FibsegError("the first cause."), "the first cause."),
        # As a library words it, which may have been printing.
        (OSError(errno.ENOSPC, "No space left"), "{run}/log.txt: cannot be written: the disk is"),
    ],
)
def test_a_full_disk_does_not_hide_the_error_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    directory = RunDirectory(tmp_path / "run")
    task: Any = SimpleNamespace(
        working_directory=tmp_path,
        directory=directory,
        singletons=Singleton.get_state(),
        function=None,
        config=None,
        context=None,
    )
    failed = JobReturn(status=JobStatus.FAILED, _return_value=error)
    monkeypatch.setattr(job, "run_job", lambda **_: failed)
    monkeypatch.setattr(runs.directory, "write_whole", full_disk)
    monkeypatch.chdir(tmp_path)
    outcome = run_task(task, nullcontext("here"))
    with pytest.raises(FibsegError) as caught:
        outcome.result.return_value  # noqa: B018
    assert str(caught.value).startswith(sentence.format(run=directory.path))
    assert not directory.error.exists()
