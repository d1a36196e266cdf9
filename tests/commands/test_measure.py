"""`fibseg measure`: its table, its stack of object numbers, and what it refuses."""

from __future__ import annotations

import csv
import errno
import sys
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
        (["--voxel-size", "20,5,0"], "expected three sizes above 0"),
        ([*VOXEL_SIZE, "--smallest", "0"], "--smallest: 0; expected 1 voxel or more"),
        ([*VOXEL_SIZE, "--instances", "x.png"], "stacks are written as"),
        (["--split-necks", "1"], "--split-necks: 1; expected between 0 and 1"),
        (["--classes", "labels.tif"], "--classes: only with --ids"),
        (["--ids", "--fill-holes"], "--fill-holes: not with --ids"),
        (["--ids", "--split-necks", ".5"], "--split-necks: not with --ids"),
        (["--ids", "--data", "phantom"], "--data: ids have no classes"),
        (["--ids", "--classes", "small.tif"], "small.tif is (2, 4, 4), labels.tif is"),
        (["--page", "labels-objects.csv"], "labels-objects.csv: is given twice"),
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
    write_stack("small.tif", np.ones((2, 4, 4), np.uint8))
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


def read_rows(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_ids_with_shape_and_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two touching bars of one class, and a plate of another one 3 voxels below them."""
    monkeypatch.chdir(tmp_path)
    ids = np.zeros((10, 24, 40), np.uint64)
    ids[2:5, 8:14, 4:20] = 2**40
    ids[2:5, 8:14, 20:36] = 3
    classes = np.where(ids > 0, 1, 0).astype(np.uint8)
    classes[7:9, 2:20, 2:38] = 2
    write_stack("ids.zarr", ids, [20, 5, 5])
    write_stack("classes.tif", classes, [20, 5, 5])
    words = ["measure", "ids.zarr", "--ids", "--classes", "classes.tif", "--shape", "--neighbours"]
    assert main([*words, "--page", "page.html"]) == 0
    assert "page.html: histograms" in capsys.readouterr().out
    first, second = read_rows("ids-objects.csv")
    for row in (first, second):
        assert (row["class"], row["voxels"], row["branches"]) == ("1", "288", "1")
        assert row["touches_border"] == "no" and row["rule"].startswith("objects of 1 voxel")
        # From the centres of slice 4 to those of slice 7.
        assert row["distance_2_nm"] == "60.0" and row["contact_2_um2"] == "0"
        # The face between the bars has 3 x 6 pixels of 20 x 5 nm.
        assert float(row["contact_1_um2"]) == pytest.approx(18 * 100 / 1e6, rel=0.35)
        assert float(row["elongation"]) == pytest.approx(80 / 30, rel=0.01)
    assert "distance_1_nm" not in first
    page = Path("page.html").read_text()
    assert "1: 2 objects" in page and "2: 0 objects" in page and "sphericity" in page
    assert main([*words[:3], "--output", "alone.csv", "--neighbours"]) == 0
    (alone, _) = read_rows("alone.csv")
    assert alone["class"] == "object" and float(alone["contact_object_um2"]) > 0


def test_voxels_where_the_size_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack("labels.tif", np.pad(np.ones((2, 3, 4), np.uint8), 1))
    assert main(["measure", "labels.tif", "--shape", "--instances", "numbers.tif"]) == 0
    printed = capsys.readouterr().out
    assert "measures are in voxels" in printed and "volume voxels" in printed
    (row,) = read_rows("labels-objects.csv")
    assert (row["volume_voxels"], row["extent_x_voxels"]) == ("24", "4")
    assert open_stack("numbers.tif").voxel_size is None


def test_objects_are_divided_at_necks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    z, y, x = np.ogrid[:40, :40, :80]
    balls = [(z - 20) ** 2 + (y - 20) ** 2 + (x - at) ** 2 < 14**2 for at in (22, 46)]
    write_stack("labels.tif", (balls[0] | balls[1]).astype(np.uint8), [5, 5, 5])
    assert main(["measure", "labels.tif"]) == 0
    assert len(read_rows("labels-objects.csv")) == 1
    words = ["measure", "labels.tif", "--split-necks", ".6", "--instances", "parts.tif"]
    assert main([*words, "--overwrite"]) == 0
    rows = read_rows("labels-objects.csv")
    assert len(rows) == 2
    np.testing.assert_allclose([float(row["centre_x_nm"]) for row in rows], [112, 232], atol=8)
    assert tifffile.imread("parts.tif").max() == 2
    # The smallest object is one of the parts, not of the whole.
    limit = str(int(rows[0]["voxels"]) + 1)
    assert main([*words, "--overwrite", "--smallest", limit]) == 0
    assert len(read_rows("labels-objects.csv")) < 2
    assert sorted(path.name for path in Path().iterdir()) == [
        "labels-objects.csv",
        "labels.tif",
        "parts.tif",
    ]


def test_a_table_as_parquet_needs_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write_stack("labels.tif", blobs(0), [20, 5, 5])
    assert main(["measure", "labels.tif", "--parquet"]) == 2
    assert "needs pyarrow" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["labels.tif"]


def test_what_is_read_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "labels.tif"
    write_stack(path, np.ones((3, 4, 5), np.uint8), [20, 5, 5])
    before = path.read_bytes()
    for option in ("--instances", "--output"):
        assert main(["measure", str(path), option, str(path), "--overwrite"]) != 0
        assert "which is read" in capsys.readouterr().err
    assert main(["measure", str(path), "--voxel-size", "nan,1,1", "--shape"]) != 0
    assert path.read_bytes() == before
