"""Ilastik's pixel classification, by a stand-in that writes known probabilities."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support import Commands

STAND_IN = """#!{python}
import argparse
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import tifffile

print("stand-in of ilastik")
# Any other option ends it.
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--headless", action="store_true", required=True)
for name, value in (
    ("export_source", "Probabilities"),
    ("output_format", "hdf5"),
    ("output_internal_path", "exported_data"),
    ("output_axis_order", "yxc"),
    ("readonly", "true"),
):
    parser.add_argument("--" + name, choices=[value], required=True)
parser.add_argument("--project", type=Path, required=True)
parser.add_argument("--output_filename_format", required=True)
parser.add_argument("inputs", nargs="+", type=Path)
given = parser.parse_args()
assert given.project.is_absolute() and given.project.is_file()
assert given.output_filename_format.endswith("/{{nickname}}.h5")
assert os.environ["LAZYFLOW_THREADS"] == "1"
beside = {{path.name for path in given.project.parent.iterdir()}}
if "fails" in beside:
    print("RuntimeError: no licence for this")
    sys.exit(3)
for path in given.inputs:
    image = tifffile.imread(path).astype(float)
    assert image.ndim == 2
    if "silent" in beside:
        continue
    middle = np.median(image)
    between = (image > middle - 10) & (image <= middle)
    known = [image > middle, image <= middle - 10, between, 0 * image]
    labels = 3 if "short" in beside else 4
    with h5py.File(given.output_filename_format.format(nickname=path.stem), "w") as file:
        file["exported_data"] = np.stack(known[:labels], axis=-1).astype(np.float32)
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


def line(commands: Commands, *overrides: str) -> list[str]:
    recipe = [argument for argument in commands.recipe if not argument.startswith("model.")]
    return ["train.py", *recipe, "model=ilastik", *overrides]


LABELS = ["ER", "Mitochondrion", "background", "membrane"]


@pytest.fixture
def given(stand_in: Path, tmp_path: Path) -> list[str]:
    """Arguments for the stand-in and a project of LABELS."""
    path = project(tmp_path / "cell.ilp", LABELS)
    return [f"model.executable={stand_in}", f"model.project={path}"]


@pytest.mark.slow
def test_its_labels_are_scored_as_those_of_others(commands: Commands, given: list[str]) -> None:
    arguments = line(commands, *given)
    result = commands.run(*arguments)
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert run.name.startswith("ilastik-off-")
    assert "stand-in of ilastik" in (run / "ilastik.log").read_text()
    labels = tifffile.imread(run / "labels" / "test.tif")
    for page, z in enumerate((7, 8)):
        image = tifffile.imread(commands.data / "image.tif")[z].astype(float)
        middle = np.median(image)
        expected = np.select([image > middle, image <= middle - 10], [3, 1], 0)
        np.testing.assert_array_equal(labels[page], expected)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["run"]["model"] == "ilastik"
    assert len(scores["splits"]["validation"]) == 2
    assert commands.run(*arguments).stdout.count("finished already") == 1
    predict = ["predict.py", f"image={commands.data / 'image.tif'}", "output=y.tif"]
    refused = commands.run(*predict, f"checkpoint={run}")
    commands.refused(refused, "a run of Ilastik keeps no model; let Ilastik label the stack")
    refused = commands.run(*predict, f"checkpoint={run.parent}")
    commands.refused(refused, "no finished run in it")
    assert "it keeps no model" in refused.stdout
    project(Path(given[1].partition("=")[2]), LABELS[::-1])
    commands.refused(commands.run(*arguments), "was made with another", "cell.ilp")


@pytest.mark.slow
def test_labels_by_another_name_and_slices_of_16_bits(
    commands: Commands, given: list[str], tmp_path: Path
) -> None:
    """Ilastik gets the slices as they are in the file."""
    wide = tifffile.imread(commands.data / "image.tif").astype(np.uint16) * 200 + 900
    shutil.copytree(commands.data, tmp_path / "wide")
    tifffile.imwrite(tmp_path / "wide" / "image.tif", wide)
    result = commands.run(
        *line(commands, *given),
        f"data.root={tmp_path / 'wide'}",
        "model.labels=[er,membrane,background,membrane]",
    )
    assert result.returncode == 0, result.stderr
    assert "warning: no label of the project is mitochondrion; it will score 0" in result.stdout
    labels = tifffile.imread(commands.run_directory() / "labels" / "test.tif")
    image = wide[7].astype(float)
    np.testing.assert_array_equal(labels[0] == 3, image > np.median(image))


@pytest.mark.slow
def test_a_program_on_the_path(commands: Commands, given: list[str], stand_in: Path) -> None:
    on_path = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    result = commands.run(*line(commands, given[1]), env=on_path, cwd=stand_in.parent)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_mistakes(commands: Commands, given: list[str], stand_in: Path, tmp_path: Path) -> None:
    def refused(message: str, *arguments: str) -> None:
        commands.refused(commands.run(*line(commands, *arguments)), message)

    refused("Ilastik is not on the PATH; get it from https://www.ilastik.org/download", given[1])
    refused("nowhere.sh cannot be run", "model.executable=nowhere.sh", given[1])
    refused("model.project: must be given", given[0])
    refused("filter=off, with this model", *given, "filter=on")
    refused("2 names for the 4 labels", *given, "model.labels=[er,membrane]")
    refused("'nucleus' is none of background", *given, "model.labels=[er,membrane,nucleus,er]")
    text = tmp_path / "text.ilp"
    text.write_text("hello")
    refused(
        "text.ilp: no project of Ilastik's pixel classification", given[0], f"model.project={text}"
    )
    counting = project(tmp_path / "c.ilp", LABELS, "Cell Density Counting")
    refused("a project of Cell Density Counting", given[0], f"model.project={counting}")
    assert not (commands.folder / "runs").exists()
    messages = {
        "fails": "Ilastik ended with exit code 3: RuntimeError: no licence for this",
        "silent": "Ilastik wrote no probabilities for validation-0000.tif",
        "short": "Ilastik's probabilities are of shape (96, 96, 3); expected (96, 96, 4)",
    }
    # The stand-in looks for files of these names beside the project.
    for name, message in messages.items():
        (tmp_path / name).touch()
        refused(message, *given)
        (tmp_path / name).unlink()
    stand_in.write_text("no program")
    refused("run_ilastik.sh: cannot be run", *given)
