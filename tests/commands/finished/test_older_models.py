"""Finished runs of older versions, which kept a network as a zip of torch."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.models.trained import load_model
from fibseg.runs.directory import RunDirectory
from fibseg.stack import read_notes
from tests.support import Commands
from tests.support.models import save_older

pytestmark = pytest.mark.slow(seconds=5)


def older_copy(commands: Commands, folder: Path) -> RunDirectory:
    """The finished run as an older version would have left it."""
    run = RunDirectory(folder / "runs" / "tiny" / commands.run_directory().name)
    shutil.copytree(commands.run_directory(), run.path)
    save_older(load_model(run.model_file), run.older_models[0])
    run.model_file.unlink()
    return run


def test_an_older_run_is_used_by_every_command(finished: Commands, tmp_path: Path) -> None:
    run = older_copy(finished, tmp_path)
    labels = []
    for number, path in enumerate((finished.run_directory(), run.path)):
        output = tmp_path / f"{number}.tif"
        result = finished.run(
            "predict.py",
            f"checkpoint={path}",
            f"image={finished.data / 'image.tif'}",
            f"output={output}",
            *("device=cpu", "processes=1", "threads=1"),
        )
        assert result.returncode == 0, result.stderr
        labels.append(tifffile.imread(output))
    np.testing.assert_array_equal(*labels)
    notes = read_notes(tmp_path / "1.tif")
    digest = hashlib.sha256(run.older_models[0].read_bytes()).hexdigest()
    assert notes is not None and notes["model_sha256"] == [digest]
    result = finished.run("fibseg", "compare", run.path.parent, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    # Decided anew, it is a model of today.
    result = finished.run("fibseg", "calibrate", run.path, "--decision", "argmax")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in run.model_file.parent.iterdir()] == ["model.safetensors"]
    digest = hashlib.sha256(run.model_file.read_bytes()).hexdigest()
    assert result.stdout.endswith(f"; SHA-256 {digest}\n")
    assert load_model(run.model_file).training is None


def test_an_older_run_is_a_start(finished: Commands, commands: Commands) -> None:
    run = older_copy(finished, commands.folder / "source")
    command = (f"init_from={run.path}", "training.epochs=1", "filter=on", "filter.areas=[20,200]")
    result = commands.train(*command)
    assert result.returncode == 0, result.stderr
    assert f"starting from {run.path}" in result.stdout
    # The start is compared by its weights, whatever file holds them.
    shutil.copy(finished.run_directory() / "checkpoints" / "model.safetensors", run.model_file)
    run.remove_older_models()
    assert "finished already" in commands.train(*command).stdout
