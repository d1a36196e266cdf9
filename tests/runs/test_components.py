"""components.csv: written, read back plain or compressed, and damaged."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from fibseg.arrays import Place
from fibseg.errors import FibsegError
from fibseg.runs.components import COMPONENT_COLUMNS, components_of, write_components
from fibseg.runs.directory import RunDirectory
from fibseg.scores.slices import score_slices

HEADER = "split,volume,slice,class,of,area,row,column,overlap,touched"


def pack(run: RunDirectory) -> None:
    """Replace components.csv by the compressed file."""
    run.packed_components.write_bytes(gzip.compress(run.components.read_bytes(), mtime=0))
    run.components.unlink()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Two test slices: a block of class 2 whose half is predicted, and a false spot of class 1."""
    truth = np.zeros((2, 10, 12), np.uint8)
    prediction = np.zeros((2, 10, 12), np.uint8)
    truth[0, 2:6, 2:6] = 2
    prediction[0, 2:4, 2:6] = 2
    prediction[1, 9, 11] = 1
    score = score_slices([Place(0, 4), Place(1, 7)], truth, prediction, 3)
    directory = RunDirectory(tmp_path)
    write_components(directory, {"test": score}, ["background", "er", "golgi"])
    return directory


def test_columns_are_the_contract(run: RunDirectory) -> None:
    assert ",".join(COMPONENT_COLUMNS) == HEADER
    rows = run.components.read_text().splitlines()
    assert rows == [
        HEADER,
        "test,0,4,golgi,truth,16,3.5,3.5,8,1",
        "test,0,4,golgi,prediction,8,2.5,3.5,8,1",
        "test,1,7,er,prediction,1,9.0,11.0,0,0",
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_components_are_read_back(run: RunDirectory, packed: bool) -> None:
    if packed:
        pack(run)
    golgi = components_of(run.path, "test", "golgi")
    assert golgi.of_truth.tolist() == [True, False]
    assert golgi.area.tolist() == [16, 8]
    assert golgi.share.tolist() == [0.5, 1.0]
    er = components_of(run.path, "test", "er")
    assert (er.volume.tolist(), er.z.tolist()) == ([1], [7])
    assert len(er.on([Place(1, 7)]).area) == 1
    assert len(er.on([Place(0, 7), Place(1, 4)]).area) == 0
    assert len(components_of(run.path, "validation", "er").area) == 0


def test_the_plain_file_is_read_where_both_exist(run: RunDirectory) -> None:
    run.packed_components.write_bytes(b"no gzip")
    assert len(components_of(run.path, "test", "er").area) == 1


def test_a_file_that_changed_is_read_again(run: RunDirectory) -> None:
    assert len(components_of(run.path, "test", "er").area) == 1
    run.components.write_text(f"{HEADER}\n")
    # Two writes within a tick of the clock would have one time.
    os.utime(run.components, ns=(1, 1))
    assert len(components_of(run.path, "test", "er").area) == 0


@pytest.mark.parametrize(
    "damage",
    [
        "split,area\ntest,x\n",
        f"{HEADER}\ntest,0,4\n",
        f"{HEADER}\ntest,0,4,er,truth,x,0,0,0,0\n",
        f"{HEADER}\ntest,0,4,er,truth,0,0,0,0,0\n",
        f"{HEADER}\ntest,0,4,er,truth,{10**30},0,0,0,0\n",
        "",
    ],
)
def test_damage_is_named(run: RunDirectory, damage: str) -> None:
    run.components.write_text(damage)
    with pytest.raises(FibsegError, match=r"components.csv: (damaged|not the components)"):
        components_of(run.path, "test", "er")


def test_a_compressed_file_that_is_damaged_is_named(run: RunDirectory) -> None:
    pack(run)
    whole = run.packed_components.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for damage in (whole[: len(whole) // 2], whole[:5], b"no gzip", bytes(flipped)):
        run.packed_components.write_bytes(damage)
        with pytest.raises(FibsegError, match=r"components.csv.gz: (damaged|not the components)"):
            components_of(run.path, "test", "er")


def test_missing_components_are_named(tmp_path: Path) -> None:
    with pytest.raises(FibsegError, match=r"components.csv: cannot be read"):
        components_of(tmp_path, "test", "er")
