"""Troubles that users of such programs reported, rebuilt as small files: each has its right value.

FIBSEG_CASES names the folder of the files. The tests of the packages make inputs of the same kinds
themselves; here the commands meet files that were made without this project.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
import yaml

from tests.support import Commands, printed_rows

Result = subprocess.CompletedProcess[str]
Check = Callable[[Result, Path], object]
FILTER_ONE = ("x.tif", "--area", "1")
NEW = ("--voxel-size", "20,5,5", "--output", "c.yaml")


def equals(name: str) -> Check:
    """The command wrote x.tif, equal to the pixels of a file."""

    def check(result: Result, folder: Path) -> None:
        assert result.returncode == 0, result.stderr
        path = folder / name
        right = np.load(path) if path.suffix == ".npy" else tifffile.imread(path)
        written = tifffile.imread(folder / "x.tif")
        assert written.dtype == right.dtype
        np.testing.assert_array_equal(written, right)

    return check


def refused(*fragments: str, without: str = "damaged") -> Check:
    """The command ended with one sentence that holds the fragments, and leads nobody astray."""

    def check(result: Result, _: Path) -> None:
        assert result.returncode == 2, (result.stdout, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "Traceback" not in result.stderr
        for fragment in fragments:
            assert fragment in result.stderr
        assert without not in result.stderr

    return check


def either(*checks: Check) -> Check:
    """One of the checks holds: where a case allows a value or a sentence."""

    def check(result: Result, folder: Path) -> None:
        failures = []
        for candidate in checks:
            try:
                candidate(result, folder)
            except AssertionError as error:
                failures.append(str(error))
        assert len(failures) < len(checks), "\n".join(failures)

    return check


def says(*fragments: str) -> Check:
    """The command succeeded and said this."""

    def check(result: Result, _: Path) -> None:
        assert result.returncode == 0, result.stderr
        for fragment in fragments:
            assert fragment in result.stdout + result.stderr

    return check


def depth(count: int) -> Check:
    def check(result: Result, folder: Path) -> None:
        assert result.returncode == 0, result.stderr
        assert len(tifffile.imread(folder / "x.tif")) == count

    return check


def planes_in_order(result: Result, folder: Path) -> None:
    assert result.returncode == 0, result.stderr
    planes = tifffile.imread(folder / "x.tif")
    assert planes.shape == (5, 40, 50)
    assert [int(plane.max()) for plane in planes] == [0, 10, 20, 30, 40]


def unsigned(result: Result, folder: Path) -> None:
    assert result.returncode == 0, result.stderr
    pixels = tifffile.imread(folder / "x.tif")
    assert pixels.dtype == np.uint16
    organelle = pixels[tifffile.imread(folder / "labels.tif") > 0]
    assert abs(np.median(pixels) - 36000) < 1500 and abs(np.median(organelle) - 24000) < 1500


def split_by_name(result: Result, folder: Path) -> None:
    assert result.returncode == 0, result.stderr
    (volume,) = yaml.safe_load((folder / "c.yaml").read_text())["volumes"]
    assert sorted(z for slices in volume["split"].values() for z in slices) == [0, 3, 6, 9]


def colours_as_classes(result: Result, folder: Path) -> None:
    assert result.returncode == 0, result.stderr
    first = tifffile.imread(folder / "x.tif")[0]
    assert np.bincount(first.ravel(), minlength=3)[1:3].tolist() == [400, 550]


def scored_as_255(result: Result, _: Path) -> None:
    assert result.returncode == 0, result.stderr
    assert printed_rows(result.stdout)["255"][0] == "0.974"


def ignores_minus_one(result: Result, folder: Path) -> None:
    assert result.returncode == 0, result.stderr
    description = yaml.safe_load((folder / "c.yaml").read_text())
    assert description["ignore"] == -1
    assert [entry["label"] for entry in description["classes"].values()] == [1]


class Case(NamedTuple):
    """One command in a case's folder, and what must come of it."""

    folder: str
    words: tuple[str, ...]
    check: Check


CVAT = ("import", "SegmentationClass", "x.tif")
CASES = [
    Case("01", ("filter", "loop.tif", *FILTER_ONE), equals("truth.npy")),
    Case("01", ("filter", "append.tif", *FILTER_ONE), equals("truth.npy")),
    Case("02", ("filter", "reversed.ome.tif", *FILTER_ONE), planes_in_order),
    Case(
        "02",
        ("filter", "s0.ome.tif", *FILTER_ONE),
        either(planes_in_order, refused("s0.ome.tif", "s1")),
    ),
    Case("02", ("filter", "s*.ome.tif", *FILTER_ONE), planes_in_order),
    Case("03", ("filter", "cell.h5:/t00000/s00/0/cells", *FILTER_ONE), unsigned),
    Case(
        "04",
        ("import", "labels", "x.tif", "--class", "mitochondrion=1", "--class", "er=2"),
        either(equals("truth.tif"), refused("z0.png", "z1.png", "palette")),
    ),
    Case(
        "05",
        ("new", "cp", "train/img_*.tif", "train/*_masks.tif", *NEW),
        refused("img_0.tif", "img_0_masks.tif", without="--offset"),
    ),
    Case("05", ("filter", "train/img_?.tif", *FILTER_ONE), depth(6)),
    Case(
        "06",
        ("new", "sp", "raw", "labels", *NEW),
        either(split_by_name, refused("slice_003.tif", without="--offset")),
    ),
    Case("08", ("check", "both.yaml"), says("mitochondrion", "darker", "brighter")),
    Case(
        "09",
        ("new", "g", "cell.zarr/ome/em", "cell.zarr/ome/gt", "--output", "o.yaml"),
        refused("2", "4", "nm", without="--offset"),
    ),
    Case(
        "09",
        ("new", "g", "cell.zarr/plain/em", "cell.zarr/plain/gt", "--output", "o.yaml"),
        refused("2", "4", "nm", without="--offset"),
    ),
    Case(
        "10",
        ("filter", "cell.h5", *FILTER_ONE),
        either(equals("truth.npy"), refused("Zstandard", "32015", "hdf5plugin")),
    ),
    Case("13", ("filter", "cell.n5/em/s0", *FILTER_ONE), refused(".n5", "Zarr")),
    Case("13", ("filter", "cell.n5", *FILTER_ONE), refused(".n5", "Zarr")),
    Case(
        "14",
        ("score", "prediction.tif", "truth.tif"),
        either(scored_as_255, refused("truth.tif", "255")),
    ),
    Case(
        "16",
        ("new", "m", "cell.tif", "labels.tif", *NEW),
        either(ignores_minus_one, refused("-1")),
    ),
    Case(
        "23",
        (*CVAT, "--class", "mitochondrion=#fa3253", "--class", "er=#33ddff"),
        colours_as_classes,
    ),
    Case(
        "23",
        (*CVAT, "--class", "mitochondrion=1", "--class", "er=2"),
        refused("#", "--class"),
    ),
    Case("24", ("filter", "cell [8 nm]/*.tif", *FILTER_ONE), depth(4)),
]


@pytest.fixture
def case(tmp_path: Path) -> Callable[[str], Path]:
    """Gives a copy of the folder of a case, by the number that its name begins with."""
    cases = Path(os.environ.get("FIBSEG_CASES", ""))
    if not list(cases.glob("01-*/expect.txt")):
        pytest.skip("FIBSEG_CASES names no folder of cases: files of other programs are not tested")

    def copy(number: str) -> Path:
        (source,) = cases.glob(f"{number}-*")
        folder = tmp_path / number
        # The files may be read-only, and their permissions are not copied.
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        return folder

    return copy


FIRST_OF_A_COMMAND = {row.words[0]: row for row in reversed(CASES)}.values()
"""These are run by the installed program, the others inside this process."""


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize("row", CASES, ids=lambda row: " ".join((row.folder, *row.words[:2])))
def test_a_case_gives_its_right_value(
    row: Case, case: Callable[[str], Path], commands: Commands
) -> None:
    folder = case(row.folder)
    run = commands.run_process if row in FIRST_OF_A_COMMAND else commands.run
    result = run("fibseg", *row.words, cwd=folder)
    row.check(result, folder)


@pytest.mark.slow(seconds=5)
def test_a_file_that_another_program_writes_is_not_called_damaged(
    case: Callable[[str], Path], commands: Commands
) -> None:
    folder = case("11")
    with subprocess.Popen(
        [sys.executable, "make.py", "60"], cwd=folder, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        result = commands.run_process("fibseg", "filter", "cell.h5", *FILTER_ONE, cwd=folder)
        writer.kill()
    refused("cell.h5", "another program")(result, folder)


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("name", ["Müllerzellen", "cell (1)", "mito & er", "day 1,2", "it's"])
def test_a_path_that_people_have_is_predicted_as_it_is_or_as_the_sentence_says(
    name: str, case: Callable[[str], Path], finished: Commands
) -> None:
    folder = case("12")
    typed = f"image={name}/cell.tif"
    words = [f"checkpoint={finished.run_directory()}", "output=x.tif", "device=cpu", "threads=1"]
    result = finished.run("predict.py", *words, typed, cwd=folder)
    if result.returncode:
        # The sentence shows between two quotes of the shell what works in place of it.
        shown = result.stderr.split("'")[1]
        assert result.returncode == 2 and name in shown, result.stderr
        result = finished.run("predict.py", *words, shown, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert tifffile.imread(folder / "x.tif").shape == (3, 64, 64)


@pytest.mark.slow(seconds=10)
def test_a_board_that_cannot_be_written_loses_no_score(
    case: Callable[[str], Path], commands: Commands
) -> None:
    case("21")
    environment = os.environ | {"HOME": "/proc/nohome", "WANDB_MODE": "offline"}
    for key in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        environment.pop(key, None)
    arguments = [*commands.recipe, "logger=[wandb]"]
    result = commands.run_process("train.py", *arguments, env=environment)
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert json.loads((run / "scores.json").read_text())["splits"]["test"]
    assert "warning: W&B" not in result.stdout
    (table,) = run.glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["columns"] == ["class", "validation", "test"]


@pytest.mark.slow(seconds=25)
def test_a_sweep_runs_where_tmpdir_is_long(case: Callable[[str], Path], commands: Commands) -> None:
    case("22")
    folder = commands.folder / ("slurm_jobdir_1355700_" + "x" * 60)
    folder.mkdir()
    arguments = [*commands.recipe, "training.epochs=1", "seed=0,1"]
    environment = os.environ | {"TMPDIR": str(folder)}
    result = commands.run_process("train.py", "-m", *arguments, env=environment)
    assert result.returncode == 0, result.stderr
    assert len(list(commands.folder.glob("runs/tiny/*/scores.json"))) == 2
