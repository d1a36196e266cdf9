"""Ilastik's pixel classification by a stand-in that checks its arguments and writes known probabilities."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from .conftest import Commands

STAND_IN = """#!{python}
import re, sys
from pathlib import Path
import h5py, numpy as np, tifffile
print("stand-in of ilastik")
flags = dict(one[2:].split("=", 1) for one in sys.argv[1:] if one.startswith("--") and "=" in one)
inputs = [Path(one) for one in sys.argv[1:] if not one.startswith("--")]
assert sys.argv[1] == "--headless" and Path(flags["project"]).is_absolute() and Path(flags["project"]).is_file()
assert flags["export_source"] == "Probabilities" and flags["output_format"] == "hdf5", flags
assert flags["output_axis_order"] == "yxc" and flags["output_internal_path"] == "exported_data"
assert flags["output_filename_format"].endswith("/{{nickname}}.h5") and flags["readonly"] == "true"
if (Path(flags["project"]).parent / "fails").exists():
    print("RuntimeError: no licence for this")
    sys.exit(3)
for path in inputs:
    image = tifffile.imread(path).astype(float)
    assert image.ndim == 2
    middle = np.median(image)
    known = [image > middle, image <= middle - 10, (image > middle - 10) & (image <= middle), 0 * image]
    with h5py.File(flags["output_filename_format"].format(nickname=path.stem), "w") as file:
        file["exported_data"] = np.stack(known, axis=-1).astype(np.float32)
"""


def project(path: Path, labels: list[str], workflow: str = "Pixel Classification") -> Path:
    with h5py.File(path, "w") as file:
        file["workflowName"] = workflow.encode()
        file["PixelClassification/LabelNames"] = [name.encode() for name in labels]
    return path


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    folder = tmp_path / "ilastik"
    folder.mkdir()
    program = folder / "run_ilastik.sh"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    return program


def line(commands: Commands, *more: str) -> list[str]:
    own = [one for one in commands.recipe if not one.startswith("model.")]
    return ["train.py", *own, "model=ilastik", *more]


LABELS = ["ER", "Mitochondrion", "background", "membrane"]


@pytest.mark.slow
def test_its_labels_are_scored_as_those_of_others(commands: Commands, stand_in: Path, tmp_path: Path) -> None:
    path = project(tmp_path / "cell.ilp", LABELS)
    arguments = line(commands, f"model.project={path}", f"model.executable={stand_in}")
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr
    run = commands.run_directory()
    assert run.name.startswith("ilastik-off-") and "stand-in of ilastik" in (run / "ilastik.log").read_text()
    found = tifffile.imread(run / "labels" / "test.tif")
    for page, z in enumerate((7, 8)):
        image = tifffile.imread(commands.data / "image.tif")[z].astype(float)
        middle = np.median(image)
        expected = np.select([image > middle, image <= middle - 10], [3, 1], 0)
        np.testing.assert_array_equal(found[page], expected)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["run"]["model"] == "ilastik" and len(scores["splits"]["validation"]) == 2
    assert commands.run(*arguments).stdout.count("finished already") == 1
    refused = commands.run("predict.py", f"checkpoint={run}", "image=x.tif", "output=y.tif")
    assert refused.returncode == 2
    project(path, [*LABELS[::-1]])
    commands.refused(commands.run(*arguments), "was made with another", "cell.ilp")
    on_path = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    other = commands.run(*line(commands, f"model.project={path}", "name=other"), env=on_path)
    assert other.returncode == 0, other.stderr


@pytest.mark.slow
def test_mistakes(commands: Commands, stand_in: Path, tmp_path: Path) -> None:
    path = project(tmp_path / "cell.ilp", LABELS)
    given = [f"model.executable={stand_in}", f"model.project={path}"]

    def refused(*said: str, arguments: list[str]) -> None:
        commands.refused(commands.run(*line(commands, *arguments)), *said)

    refused("Ilastik is not on the PATH; get it from https://www.ilastik.org/download", arguments=given[1:])
    refused("nowhere.sh cannot be run", arguments=["model.executable=nowhere.sh", given[1]])
    refused("model.project: must be given", arguments=given[:1])
    refused("filter=off, with this model", arguments=[*given, "filter=on"])
    refused("2 names for the 4 labels", arguments=[*given, "model.labels=[er,membrane]"])
    refused("'nucleus' is none of background", arguments=[*given, "model.labels=[er,membrane,nucleus,er]"])
    text = tmp_path / "text.ilp"
    text.write_text("hello")
    refused("text.ilp: no project of Ilastik's pixel classification", arguments=[given[0], f"model.project={text}"])
    counting = project(tmp_path / "c.ilp", LABELS, "Cell Density Counting")
    refused("a project of Cell Density Counting", arguments=[given[0], f"model.project={counting}"])
    assert not (commands.folder / "runs").exists()
    (tmp_path / "fails").touch()
    refused("Ilastik ended with exit code 3: RuntimeError: no licence for this", arguments=given)
