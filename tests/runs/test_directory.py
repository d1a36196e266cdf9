"""The lock of a run directory, and the model that is found in it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fibseg.errors import FibsegError, RunTakenError
from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run


def test_a_full_disk_does_not_hide_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path)
    assert run.write_error("why")
    assert run.error.read_text() == "why"

    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", is_full)
    assert not run.write_error("why not")
    assert run.error.read_text() == "why"


def test_pictures_that_are_lacking(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    # A run that keeps neither labels nor epochs has no pictures to draw.
    assert run.lacking_pictures() == []
    run.figures.mkdir()
    run.labels("test").parent.mkdir()
    for path in (run.labels("test"), run.metrics):
        path.touch()
    assert run.lacking_pictures() == ["test", "curves"]
    run.picture("test").touch()
    assert run.lacking_pictures() == ["curves"]


def test_the_lock_keeps_other_processes_out_and_ends_with_its_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    holder = (
        "import os, signal; from pathlib import Path; from fibseg.runs import RunDirectory\n"
        f"with RunDirectory(Path({str(run.path)!r})).lock():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run.is_free()
    assert not run.path.exists()
    subprocess.run([sys.executable, "-c", holder], check=False)
    assert run.is_free()
    with run.lock():
        assert not RunDirectory(run.path).is_free()
        with (
            pytest.raises(RunTakenError, match="another process is in this run"),
            RunDirectory(run.path).lock(),
        ):
            pass
    assert run.is_free()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FibsegError, match="cannot be made"),
        RunDirectory(tmp_path / "file" / "run").lock(),
    ):
        pass


def test_a_folder_is_a_run_with_a_configuration_or_scores(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert not is_run(tmp_path)
    run.config.write_text("")
    assert is_run(tmp_path)
    run.config.rename(run.scores)
    assert is_run(tmp_path)


def test_the_model_of_a_run_is_preferred_to_one_of_an_older_version(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(FibsegError, match="no run directory with a trained model"):
        find_checkpoint(tmp_path)
    run.model_file.parent.mkdir()
    best, forest = run.older_models
    assert (best.name, forest.name) == ("best.ckpt", "forest.safetensors")
    for path in (forest, best, run.model_file):
        path.write_bytes(b"")
        assert find_checkpoint(tmp_path) == path
    run.remove_older_models()
    assert [path.name for path in run.model_file.parent.iterdir()] == ["model.safetensors"]
    assert find_checkpoint(tmp_path / "model.ckpt") == tmp_path / "model.ckpt"


def test_a_run_of_ilastik_keeps_no_model(tmp_path: Path) -> None:
    (tmp_path / "ilastik.log").write_text("")
    with pytest.raises(FibsegError, match="a run of Ilastik keeps no model"):
        find_checkpoint(tmp_path)


def test_only_the_state_of_a_resumed_training_is_removed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.model_file.parent.mkdir()
    for path in (run.model_file, run.last):
        path.write_bytes(b"")
    run.remove_state()
    assert run.model_file.exists()
    assert not run.last.exists()
