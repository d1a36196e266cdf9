"""A newcomer's hour: from every fifth painted slice of a crop to the labels of a whole cell.

The cell is 16-bit, the size odd, and the labels are those that napari saves.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.runs.directory import RunDirectory
from fibseg.stack import open_stack
from tests.support import Commands

CELL = np.s_[100:501, 200:663]
"""Rows and columns of the EPFL stack that are the cell; slices are the first 19."""

SLICES = 19
OFFSET = (2, 31, 44)
CROP = (16, 352, 384)
"""Where the painted crop starts in the cell, and its size: z, y, x in pixels."""


@pytest.fixture
def cell(real_stacks: Path, tmp_path: Path) -> Path:
    """A folder with cell.tif, a BigTIFF of 16 bits, and painted.tif, labels of a crop of it."""
    raw = open_stack(real_stacks / "epfl" / "raw")
    image = np.stack([raw.read(z)[CELL] for z in range(SLICES)]).astype(np.uint16) * 211 + 1234
    tifffile.imwrite(
        tmp_path / "cell.tif", image, bigtiff=True, compression="zlib", photometric="minisblack"
    )
    labels = open_stack(real_stacks / "epfl" / "labels")
    painted = np.zeros(CROP, np.uint8)
    z, y, x = OFFSET
    for page in range(0, CROP[0], 5):
        whole = labels.read(z + page)[CELL]
        painted[page] = (whole[y : y + CROP[1], x : x + CROP[2]] != 0) * 3
    tifffile.imwrite(tmp_path / "painted.tif", painted, photometric="minisblack")
    return tmp_path


@pytest.mark.slow(seconds=40)
def test_from_painted_slices_to_the_labels_of_a_stack(cell: Path, commands: Commands) -> None:
    """By a sixth of the quick recipe; the labels of the stack score what the run scored."""

    def run(line: str, *more: str) -> str:
        result = commands.run(*line.split(), *more, cwd=cell)
        assert result.returncode == 0, result.stderr
        return result.stdout

    offset = ("--offset", ",".join(map(str, OFFSET)))
    printed = run("fibseg import painted.tif labels.tif --class mitochondrion=3", *offset)
    assert "4 of 16 slices annotated" in printed
    files = ("mycell", "cell.tif", "labels.tif", *offset, "--output", "data/mycell.yaml")
    printed = run("fibseg new --voxel-size 5,5,5 --class mitochondrion=1", *files)
    assert "slices with labels: 4 of 19; 2 train, 1 validation, 1 test" in printed
    printed = run("fibseg check data/mycell.yaml")
    assert "error" not in printed
    assert (cell / "check-mycell.html").stat().st_size > 50_000
    recipe = (
        "experiment=quick",
        "training.epochs=2",
        "training.batches=140",
        "training.batch_size=4",
        "training.validation_batches=8",
        "model.width=8",
        "patches.size=128",
    )
    labels_well = (
        "windows=auto",
        "decision=validation",
        "smallest=validation",
        "machine.threads=1",
    )
    printed = run("train.py --config-dir=. data=mycell", *recipe, *labels_well)
    (scores,) = cell.glob("runs/mycell/*/scores.json")
    row = re.search(r"mitochondrion │ \S+ \(1\) *│ (\S+) \(1\)", printed)
    assert row
    run_score = float(row[1])
    # Two slices were trained on, and on another CPU the score is another one.
    assert run_score > 0.5
    facts = json.loads(scores.read_text())["run"]
    assert facts["windows"] in ("whole", "tiles", "paper")
    assert facts["decision"]["kind"] == "validation"
    run("predict.py image=cell.tif output=all.tif threads=1", f"checkpoint={scores.parent}")
    labels = open_stack(cell / "all.tif")
    assert (labels.shape, labels.dtype) == ((SLICES, 401, 463), np.uint8)
    printed = run("fibseg score all.tif labels.tif --slices 15 --data data/mycell.yaml", *offset)
    row = re.search(r"mitochondrion │ (\S+) │ 1 ", printed)
    assert row
    assert float(row[1]) == run_score
    assert RunDirectory(scores.parent).figures.is_dir()
