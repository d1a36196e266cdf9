"""`fibseg measure`: its table, its stack of object numbers, and what it refuses."""

from __future__ import annotations

import csv
import errno
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.commands.main import main
from fibseg.scores.objects import find_objects
from fibseg.stack import StackHeader, StackWriter, open_stack, write_stack
from fibseg.stack.output.tiff import TiffOutput
from tests.support.blobs import blobs

SPACING = (20.0, 5.0, 5.0)
VOXEL_SIZE = ("--voxel-size", "20,5,5")


def test_the_command_writes_a_table_and_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = blobs(0)
    values = np.array([0, 7, 9], np.uint8)[classes]
    labels = tmp_path / "labels.zarr"
    notes = {"classes": {"0": "background", "7": "mitochondrion", "9": "er"}}
    with StackWriter(labels, StackHeader(classes.shape, "uint8", SPACING, notes)) as writer:
        for page in values:
            writer.write(page)
    output = tmp_path / "objects.csv"
    instances = tmp_path / "instances.tif"
    words = ["measure", str(labels), "--output", str(output), "--instances", str(instances)]
    words += ["--smallest", "5"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    measures = find_objects(lambda z: classes[z], classes.shape, SPACING, smallest=5).measures
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert len(rows) == len(measures.voxels)
    assert f"{len(rows)} objects" in printed
    assert {row["class"] for row in rows} == {"mitochondrion", "er"}
    volume = sum(float(row["volume_um3"]) for row in rows if row["class"] == "er")
    voxels = measures.voxels[measures.class_index == 2].sum()
    assert volume == pytest.approx(voxels * 500 / 1e9, rel=1e-4)
    extent = (measures.high - measures.low + 1)[0, 0] * 20
    assert float(rows[0]["extent_z_nm"]) == extent
    numbers = tifffile.imread(instances)
    assert numbers.dtype == np.uint32
    assert numbers.max() == len(rows)
    assert list(open_stack(instances).voxel_size or ()) == list(SPACING)
    assert main(words) == 2
    assert "objects.csv: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 2)],
)
def test_both_outputs_appear_or_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    """Stopped within the second one, it leaves nothing that is in the way of the same command."""
    write_stack(tmp_path / "labels.tif", blobs(0), SPACING)
    output = tmp_path / "objects.csv"
    instances = tmp_path / "instances.tif"
    words = ["measure", str(tmp_path / "labels.tif"), f"--output={output}"]
    words.append(f"--instances={instances}")

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(TiffOutput, "write", stop)
        assert main(words) == code
    printed = capsys.readouterr().err
    assert code == 130 or printed.startswith(f"error: {instances}: cannot be written: the disk is")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"]
    assert main(words) == 0
    assert output.exists() and instances.exists()
    assert main([*words[:3], f"--instances={output}"]) == 2
    assert "is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "holds no voxel size; give --voxel-size z,y,x in nm"),
        (["--voxel-size", "20,5,0"], "expected three sizes above 0"),
        ([*VOXEL_SIZE, "--smallest", "0"], "--smallest: 0; expected 1 voxel or more"),
        ([*VOXEL_SIZE, "--instances", "x.png"], "stacks are written as"),
    ],
)
def test_mistakes_end_with_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack("labels.tif", blobs(0))
    assert main(["measure", "labels.tif", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_values_without_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """255 alone is a mask; beside other values it marks unannotated pixels."""
    monkeypatch.chdir(tmp_path)
    classes = np.zeros((2, 8, 8), np.uint8)
    classes[0, 0, 0] = 255
    classes[1, 5, 5] = 255
    write_stack("mask.tif", classes)
    assert main(["measure", "mask.tif", *VOXEL_SIZE]) == 0
    assert len(Path("mask-objects.csv").read_text().splitlines()) == 3
    classes[1, 0, 0] = 7
    write_stack("partly.tif", classes)
    assert main(["measure", "partly.tif", *VOXEL_SIZE]) == 0
    assert "255 is left out" in capsys.readouterr().out
    write_stack("negative.tif", np.where(classes == 7, -(2**30), classes.astype(np.int32)))
    assert main(["measure", "negative.tif", *VOXEL_SIZE, "--instances", "numbers.tif"]) == 0
    first_row = Path("negative-objects.csv").read_text().splitlines()[1]
    assert first_row.split(",")[1] == str(-(2**30))
    write_stack("empty.tif", np.zeros((2, 8, 8), np.uint8))
    assert main(["measure", "empty.tif", *VOXEL_SIZE]) == 2
    assert "nothing but background" in capsys.readouterr().err


def test_values_of_64_bits_whole_floats_and_negative_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = np.zeros((2, 8, 8), np.uint8)
    classes[:, 1:3, 1:3] = 1
    classes[:, 5:7, 5:7] = 2
    large = np.array([0, 2**63 + 7, 2**33], np.uint64)[classes]
    signed = np.array([0, -1, 2], np.int16)[classes]
    for name, labels, names in (
        ("large.zarr", large, [str(2**33), str(2**63 + 7)]),
        ("whole.tif", classes.astype(np.float32), ["1", "2"]),
        ("signed.tif", signed, ["2"]),
    ):
        write_stack(name, labels)
        assert main(["measure", name, *VOXEL_SIZE]) == 0
        rows = Path(f"{Path(name).stem}-objects.csv").read_text().splitlines()[1:]
        assert sorted(row.split(",")[1] for row in rows) == sorted(names)
    assert "-1 is left out" in capsys.readouterr().out
    write_stack("grey.tif", classes.astype(np.float32) + 0.5)
    assert main(["measure", "grey.tif", *VOXEL_SIZE]) == 2
    assert "value 0.5 of type float32" in capsys.readouterr().err
