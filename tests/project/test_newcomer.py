"""A newcomer's hour: a 16-bit cell, labels of every fifth slice of a crop, to labels of the whole stack and scores."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.runs.directory import RunDirectory
from fibseg.stack import open_stack
from tests.support import Commands

OFFSET = (2, 31, 44)
CROP = (20, 352, 384)


@pytest.fixture
def cell(real_stacks: Path, tmp_path: Path) -> Path:
    """A folder with cell.tif, a 16-bit BigTIFF of odd size, and painted.tif, as napari saves a crop of labels."""
    raw, labels = (
        open_stack(real_stacks / "epfl" / "raw"),
        open_stack(real_stacks / "epfl" / "labels"),
    )
    image = (
        np.stack([raw.read(z)[100:501, 200:663] for z in range(23)]).astype(np.uint16) * 211 + 1234
    )
    tifffile.imwrite(
        tmp_path / "cell.tif", image, bigtiff=True, compression="zlib", photometric="minisblack"
    )
    painted = np.zeros(CROP, np.uint8)
    z, y, x = OFFSET
    for page in range(0, CROP[0], 5):
        whole = labels.read(z + page)[100 + y : 100 + y + CROP[1], 200 + x : 200 + x + CROP[2]]
        painted[page] = (whole != 0) * 3
    tifffile.imwrite(tmp_path / "painted.tif", painted, photometric="minisblack")
    return tmp_path


@pytest.mark.slow
def test_from_painted_slices_to_the_labels_of_a_stack(cell: Path, commands: Commands) -> None:
    """By a third of the quick recipe; the score of the labels is near the run's own."""

    def run(*command: str) -> str:
        result = commands.run_process(*command, cwd=cell, timeout=1200)
        assert result.returncode == 0, result.stderr
        return result.stdout

    offset = ",".join(map(str, OFFSET))
    told = run(
        "fibseg",
        "import",
        "painted.tif",
        "labels.tif",
        "--class",
        "mitochondrion=3",
        "--offset",
        offset,
    )
    assert "4 of 20 slices annotated" in told
    told = run(
        "fibseg",
        "new",
        "mycell",
        "cell.tif",
        "labels.tif",
        "--offset",
        offset,
        "--voxel-size",
        "5,5,5",
        "--class",
        "mitochondrion=1",
        "--output",
        "data/mycell.yaml",
    )
    assert "slices with labels: 4 of 23; 2 train, 1 validation, 1 test" in told
    told = run("fibseg", "check", "data/mycell.yaml")
    assert "error" not in told and (cell / "check-mycell.html").stat().st_size > 50_000
    told = run(
        "train.py",
        "--config-dir=.",
        "data=mycell",
        "experiment=quick",
        "training.epochs=2",
        "machine.threads=1",
    )
    (directory,) = (path.parent for path in cell.glob("runs/mycell/*/scores.json"))
    score = re.search(r"mitochondrion │ \S+ \(1\) *│ (\S+) \(1\)", told)
    assert score and float(score[1]) > 0.6  # two slices were trained on
    run("predict.py", f"checkpoint={directory}", "image=cell.tif", "output=all.tif", "threads=1")
    labels = open_stack(cell / "all.tif")
    assert (labels.shape, labels.dtype) == ((23, 401, 463), np.uint8)
    told = run(
        "fibseg",
        "score",
        "all.tif",
        "labels.tif",
        "--offset",
        offset,
        "--slices",
        "15",
        "--data",
        "data/mycell.yaml",
    )
    again = re.search(r"mitochondrion │ (\S+) │ 1 ", told)
    assert (
        again and abs(float(again[1]) - float(score[1])) < 0.03
    )  # by larger windows than the run was scored with
    assert RunDirectory(directory).figures.is_dir()
