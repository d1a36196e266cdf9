"""Ilastik's pixel classification by a stand-in that checks its arguments and writes known probabilities."""

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
import argparse, os, sys
from pathlib import Path
import h5py, numpy as np, tifffile
print("stand-in of ilastik")
parser = argparse.ArgumentParser(allow_abbrev=False)  # any other option ends it
parser.add_argument("--headless", action="store_true", required=True)
for name, value in (
    ("export_source", "Probabilities"), ("output_format", "hdf5"), ("output_internal_path", "exported_data"),
    ("output_axis_order", "yxc"), ("readonly", "true"),
):
    parser.add_argument("--" + name, choices=[value], required=True)
parser.add_argument("--project", type=Path, required=True)
parser.add_argument("--output_filename_format", required=True)
parser.add_argument("inputs", nargs="+", type=Path)
given = parser.parse_args()
assert given.project.is_absolute() and given.project.is_file()
assert given.output_filename_format.endswith("/{{nickname}}.h5") and os.environ["LAZYFLOW_THREADS"] == "1"
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
    known = [image > middle, image <= middle - 10, (image > middle - 10) & (image <= middle), 0 * image]
    with h5py.File(given.output_filename_format.format(nickname=path.stem), "w") as file:
        file["exported_data"] = np.stack(known[: 3 if "short" in beside else 4], axis=-1).astype(np.float32)
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
def test_its_labels_are_scored_as_those_of_others(
    commands: Commands, stand_in: Path, tmp_path: Path
) -> None:
    path = project(tmp_path / "cell.ilp", LABELS)
    arguments = line(commands, f"model.project={path}", f"model.executable={stand_in}")
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr
    run = commands.run_directory()
    assert (
        run.name.startswith("ilastik-off-")
        and "stand-in of ilastik" in (run / "ilastik.log").read_text()
    )
    found = tifffile.imread(run / "labels" / "test.tif")
    for page, z in enumerate((7, 8)):
        image = tifffile.imread(commands.data / "image.tif")[z].astype(float)
        middle = np.median(image)
        expected = np.select([image > middle, image <= middle - 10], [3, 1], 0)
        np.testing.assert_array_equal(found[page], expected)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["run"]["model"] == "ilastik" and len(scores["splits"]["validation"]) == 2
    assert commands.run(*arguments).stdout.count("finished already") == 1
    predict = ["predict.py", f"image={commands.data / 'image.tif'}", "output=y.tif"]
    refused = commands.run(*predict, f"checkpoint={run}")
    commands.refused(refused, "a run of Ilastik keeps no model; let Ilastik label the stack")
    refused = commands.run(*predict, f"checkpoint={run.parent}")
    commands.refused(refused, "no finished run in it")
    assert "it keeps no model" in refused.stdout
    project(path, [*LABELS[::-1]])
    commands.refused(commands.run(*arguments), "was made with another", "cell.ilp")
    wide = tifffile.imread(commands.data / "image.tif").astype(np.uint16) * 200 + 900
    shutil.copytree(commands.data, tmp_path / "wide")
    tifffile.imwrite(tmp_path / "wide" / "image.tif", wide)
    more = [
        f"data.root={tmp_path / 'wide'}",
        "name=wide",
        "model.labels=[er,membrane,background,membrane]",
    ]
    other = commands.run(
        *line(commands, f"model.project={path}", f"model.executable={stand_in}", *more)
    )
    assert other.returncode == 0, other.stderr
    assert "warning: no label of the project is mitochondrion; it will score 0" in other.stdout
    (found_wide,) = (
        tifffile.imread(one) for one in commands.folder.glob("runs/wide/*/labels/test.tif")
    )
    image = tifffile.imread(tmp_path / "wide" / "image.tif")[7].astype(float)
    np.testing.assert_array_equal(found_wide[0] == 3, image > np.median(image))
    on_path = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    other = commands.run(
        *line(commands, f"model.project={path}", "name=other"), env=on_path, cwd=stand_in.parent
    )
    assert other.returncode == 0, other.stderr


@pytest.mark.slow
def test_mistakes(commands: Commands, stand_in: Path, tmp_path: Path) -> None:
    path = project(tmp_path / "cell.ilp", LABELS)
    given = [f"model.executable={stand_in}", f"model.project={path}"]

    def refused(*said: str, arguments: list[str]) -> None:
        commands.refused(commands.run(*line(commands, *arguments)), *said)

    refused(
        "Ilastik is not on the PATH; get it from https://www.ilastik.org/download",
        arguments=given[1:],
    )
    refused("nowhere.sh cannot be run", arguments=["model.executable=nowhere.sh", given[1]])
    refused("model.project: must be given", arguments=given[:1])
    refused("filter=off, with this model", arguments=[*given, "filter=on"])
    refused("2 names for the 4 labels", arguments=[*given, "model.labels=[er,membrane]"])
    refused(
        "'nucleus' is none of background",
        arguments=[*given, "model.labels=[er,membrane,nucleus,er]"],
    )
    text = tmp_path / "text.ilp"
    text.write_text("hello")
    refused(
        "text.ilp: no project of Ilastik's pixel classification",
        arguments=[given[0], f"model.project={text}"],
    )
    counting = project(tmp_path / "c.ilp", LABELS, "Cell Density Counting")
    refused("a project of Cell Density Counting", arguments=[given[0], f"model.project={counting}"])
    assert not (commands.folder / "runs").exists()
    cases = {
        "fails": "Ilastik ended with exit code 3: RuntimeError: no licence for this",
        "silent": "Ilastik wrote no probabilities for validation-0000.tif",
        "short": "Ilastik's probabilities are of shape (96, 96, 3); expected (96, 96, 4)",
    }
    for name, said in cases.items():
        (tmp_path / name).touch()
        refused(said, arguments=given)
        (tmp_path / name).unlink()
    stand_in.write_text("no program")
    refused("run_ilastik.sh: cannot be run", arguments=given)
