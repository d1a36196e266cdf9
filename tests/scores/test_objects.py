"""Objects of label stacks against scikit-image and scipy, by hand, and slab by slab against the whole."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.measure import label, marching_cubes, mesh_surface_area, regionprops

from fibseg.commands.main import main
from fibseg.scores.objects import Objects3D
from fibseg.stack import StackHeader, StackWriter, open_stack, write_stack

SPACING = (20.0, 5.0, 5.0)
FIELDS = ("class_index", "voxels", "low", "high", "centre", "border", "surface")


def blobs(seed: int, shape: tuple[int, int, int] = (17, 24, 31)) -> np.ndarray:
    """Two classes of smooth blobs, some of them touching each other and the border."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.digitize(field, [0.06, 0.16]).astype(np.uint8)


def found(classes: np.ndarray, **options: object) -> Objects3D:
    return Objects3D(lambda z: classes[z], classes.shape, SPACING, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("slab", [1, 2, 5, 16, 17, 100])
@pytest.mark.parametrize("fill", [False, True])
def test_slab_by_slab_is_the_whole_stack(slab: int, fill: bool) -> None:
    for seed in range(3):
        classes = blobs(seed)
        whole, parts = found(classes, fill=fill), found(classes, fill=fill, slab=slab)
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(parts.objects, name), getattr(whole.objects, name), err_msg=name
            )
        np.testing.assert_array_equal(list(parts.instances()), list(whole.instances()))


def test_objects_agree_with_scikit_image() -> None:
    for seed in range(3):
        classes = blobs(seed)
        ours = found(classes, slab=4)
        peers = [
            (int(classes[tuple(p.coords[0])]), p)
            for p in regionprops(label(classes, connectivity=3, background=0))
        ]
        objects = ours.objects
        assert len(peers) == len(objects.voxels) > 10
        numbers = np.stack(list(ours.instances()))
        assert numbers.dtype == np.uint32
        for k, (voxels, index) in enumerate(zip(objects.voxels, objects.class_index, strict=True)):
            places = np.argwhere(numbers == k + 1)
            ((value, peer),) = [one for one in peers if tuple(one[1].coords[0]) == tuple(places[0])]
            assert (value, peer.area) == (index, voxels) and len(places) == voxels
            low, high = peer.bbox[:3], np.array(peer.bbox[3:]) - 1
            assert (objects.low[k] == low).all() and (objects.high[k] == high).all()
            np.testing.assert_allclose(objects.centre[k], peer.centroid)
            mask = np.pad(numbers == k + 1, 1).astype(np.float32)
            area = mesh_surface_area(*marching_cubes(mask, 0.5, spacing=SPACING)[:2])
            assert objects.surface[k] == pytest.approx(area, rel=1e-4)
            assert objects.border[k] == (
                min(low) == 0 or (high == np.array(classes.shape) - 1).any()
            )


def test_volume_and_surface_of_a_ball() -> None:
    """Radius 200 nm: the volume to 2 %; the mesh of stairs of 20 nm lies up to a fifth above the true surface."""
    z, y, x = np.mgrid[-15:16, -50:51, -50:51]
    ball = ((z * 20) ** 2 + (y * 5) ** 2 + (x * 5) ** 2 <= 200**2).astype(np.uint8)
    (one,) = zip(
        *(getattr(found(ball, slab=7).objects, name) for name in ("voxels", "surface", "border")),
        strict=True,
    )
    voxels, surface, border = one
    assert voxels * 500 == pytest.approx(4 / 3 * math.pi * 200**3, rel=0.02)
    assert 1.0 < surface / (4 * math.pi * 200**2) < 1.2
    assert not border


def test_diagonal_neighbours_are_one_object_and_other_classes_are_not() -> None:
    classes = np.zeros((3, 4, 4), np.uint8)
    classes[0, 0, 0], classes[1, 1, 1], classes[2, 2, 2] = 1, 1, 2
    for slab in (1, 3):
        objects = found(classes, slab=slab).objects
        assert objects.voxels.tolist() == [2, 1] and objects.class_index.tolist() == [1, 2]
        assert objects.border.tolist() == [True, True]


def test_smallest_objects_and_holes() -> None:
    classes = np.zeros((9, 12, 30), np.uint8)
    classes[1:8, 2:9, 2:9] = 1
    classes[3:6, 4:7, 4:7] = 0  # a hole of 27 voxels
    classes[1:8, 2:9, 12:19] = 1
    classes[3:6, 4:7, 14:17] = 0
    classes[4, 5, 15] = 2  # so two classes enclose this one
    classes[2:7, 3:8, 22:27] = 2
    classes[4, 5, 22:25] = 0  # open to the outside
    classes[0, 0, 0] = 2
    for slab in (1, 4, 9):
        plain, filled = (
            found(classes, slab=slab).objects,
            found(classes, slab=slab, fill=True).objects,
        )
        assert plain.voxels.tolist() == [1, 343 - 27, 343 - 27, 125 - 3, 1]
        assert filled.voxels.tolist() == [1, 343, 343 - 27, 125 - 3, 1]
        some = found(classes, slab=slab, smallest=100)
        assert some.objects.voxels.tolist() == [316, 316, 122]
        assert np.unique(np.stack(list(some.instances()))).tolist() == [0, 1, 2, 3]


def test_nothing_and_everything() -> None:
    for classes, count in ((np.zeros((3, 4, 5), np.uint8), 0), (np.ones((3, 4, 5), np.uint8), 1)):
        for slab in (1, 2, 3):
            objects = found(classes, slab=slab, fill=True).objects
            assert len(objects.voxels) == count and objects.border.all()
    assert objects.surface[0] > 0


def test_the_command_writes_a_table_and_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = blobs(0)
    values = np.array([0, 7, 9], np.uint8)[classes]
    path = tmp_path / "labels.zarr"
    notes = {"classes": {"0": "background", "7": "mitochondrion", "9": "er"}}
    header = StackHeader(classes.shape, "uint8", SPACING, notes)
    with StackWriter(path, header) as writer:
        for one in values:
            writer.write(one)
    out, instances = tmp_path / "objects.csv", tmp_path / "i.tif"
    line = [
        "measure",
        str(path),
        "--output",
        str(out),
        "--instances",
        str(instances),
        "--smallest",
        "5",
    ]
    assert main(line) == 0
    printed = capsys.readouterr().out
    objects = found(classes, smallest=5).objects
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == len(objects.voxels) and f"{len(rows)} objects" in printed
    assert {row["class"] for row in rows} == {"mitochondrion", "er"}
    volume = sum(float(row["volume_um3"]) for row in rows if row["class"] == "er")
    assert volume == pytest.approx(
        objects.voxels[objects.class_index == 2].sum() * 500 / 1e9, rel=1e-4
    )
    assert float(rows[0]["extent_z_nm"]) == (objects.high - objects.low + 1)[0, 0] * 20
    numbers = tifffile.imread(instances)
    assert numbers.dtype == np.uint32 and numbers.max() == len(rows)
    assert list(open_stack(instances).voxel_size or ()) == list(SPACING)
    assert main(line) == 2
    assert "objects.csv: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "tells no voxel size; give --voxel-size z,y,x in nm"),
        (["--voxel-size", "20,5,0"], "expected three sizes above 0"),
        (["--voxel-size", "20,5,5", "--smallest", "0"], "--smallest: 0; expected 1 voxel or more"),
        (["--voxel-size", "20,5,5", "--instances", "x.png"], "stacks are written as"),
    ],
)
def test_mistakes(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack("labels.tif", blobs(0))
    assert main(["measure", "labels.tif", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    classes = np.zeros((2, 8, 8), np.uint8)
    classes[0, 0, 0], classes[1, 5, 5] = 255, 255
    write_stack("mask.tif", classes)
    assert main(["measure", "mask.tif", "--voxel-size", "20,5,5"]) == 0
    assert len(Path("mask-objects.csv").read_text().splitlines()) == 3
    classes[1, 0, 0] = 7
    write_stack("partly.tif", classes)
    assert main(["measure", "partly.tif", "--voxel-size", "20,5,5"]) == 0
    assert "255 is left out" in capsys.readouterr().out
    write_stack("negative.tif", np.where(classes == 7, -(2**30), classes.astype(np.int32)))
    assert main(["measure", "negative.tif", "--voxel-size", "20,5,5", "--instances", "n.tif"]) == 0
    assert Path("negative-objects.csv").read_text().splitlines()[1].split(",")[1] == str(-(2**30))
    write_stack("empty.tif", np.zeros((2, 8, 8), np.uint8))
    assert main(["measure", "empty.tif", "--voxel-size", "20,5,5"]) == 2
    assert "nothing but background" in capsys.readouterr().err
