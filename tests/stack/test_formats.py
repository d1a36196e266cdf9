"""Every format through files that another library wrote."""

from __future__ import annotations

import functools
import http.server
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from fibseg.errors import FibsegError
from fibseg.stack import StackHeader, StackWriter, open_stack, voxel_size_in_nm
from tests.support.stack_files import (
    STACK_SHAPE,
    VOXEL_SIZE,
    Pixels,
    bigtiff,
    hdf5,
    ilastik,
    imagej,
    imagej_block,
    loaded_ome_zarr,
    mrc,
    nifti,
    ome_tiff,
    ome_zarr_of,
    pixels,
    png_slices,
    tiled_tiff,
    zarr_2,
    zarr_3,
    zarr_5d,
)


@pytest.mark.parametrize(
    ("write", "dtypes", "has_size"),
    [
        (bigtiff, ("uint8", "uint16", "float32"), False),
        (tiled_tiff, ("uint8", "uint16"), False),
        (ome_tiff, ("uint16",), True),
        (imagej, ("uint8", "uint16", "float32"), True),
        (imagej_block, ("uint8", "uint16", "float32"), True),
        (hdf5, ("uint8", "uint16", "float32"), True),
        (ilastik, ("uint8", "uint32"), False),
        (zarr_2, ("uint8", "uint32"), False),
        (zarr_3, ("uint8", "uint16"), False),
        (ome_zarr_of("0.4"), ("uint8", "uint16"), True),
        (ome_zarr_of("0.5"), ("uint8", "uint16"), True),
        (zarr_5d, ("uint8",), True),
        (png_slices, ("uint8", "uint16"), False),
        (mrc, ("uint16", "float32"), True),
        (nifti, ("uint8", "int16", "float32"), True),
    ],
)
def test_a_file_of_another_library(
    write: Callable[[Path, Pixels], str], dtypes: tuple[str, ...], has_size: bool, tmp_path: Path
) -> None:
    for dtype in dtypes:
        data = pixels(dtype)
        folder = tmp_path / dtype
        folder.mkdir()
        stack = open_stack(write(folder, data))
        assert (stack.shape, stack.dtype) == (STACK_SHAPE, np.dtype(dtype))
        for z in (3, 0, 4):
            image = stack.read(z)
            assert image.dtype == stack.dtype
            np.testing.assert_array_equal(image, data[z])
        np.testing.assert_array_equal(np.stack(list(stack)), data)
        assert stack.voxel_size == (pytest.approx(tuple(VOXEL_SIZE)) if has_size else None)


def test_unsigned_bytes_of_imod(tmp_path: Path) -> None:
    """IMOD's mode 0 is unsigned unless bit 0 of its flags says otherwise."""
    data = pixels("uint8")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(data.view(np.int8))
    assert open_stack(tmp_path / "a.mrc").dtype == np.int8
    for flags, kind in ((0, np.uint8), (1, np.int8)):
        content = bytearray((tmp_path / "a.mrc").read_bytes())
        content[152:160] = np.array([1146047817, flags], "<i4").tobytes()
        (tmp_path / "b.rec").write_bytes(content)
        stack = open_stack(tmp_path / "b.rec")
        assert stack.dtype == kind
        np.testing.assert_array_equal(stack.read(2), data[2].view(kind))


def test_a_header_that_knows_no_size_and_one_of_older_programs(tmp_path: Path) -> None:
    """1 Angstrom is written by those who know nothing; old files lack the words MAP."""
    data = pixels("int16")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(data)
        file.voxel_size = 1.0
    assert open_stack(tmp_path / "a.mrc").voxel_size is None
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[208:212] = bytes(4)
    (tmp_path / "b.mrc").write_bytes(content)
    np.testing.assert_array_equal(open_stack(tmp_path / "b.mrc").read(1), data[1])


def test_a_folder_of_more_slices_than_files_may_be_open(tmp_path: Path) -> None:
    for z in range(80):
        tifffile.imwrite(tmp_path / f"z{z}.tif", np.full((4, 4), z, np.uint8))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, limits[1]))
    try:
        assert [int(image[0, 0]) for image in open_stack(tmp_path)] == list(range(80))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("write", [hdf5, zarr_2, mrc, nifti, imagej_block, bigtiff])
def test_opening_reads_no_pixels_and_slices_need_the_memory_of_a_few(
    write: Callable[[Path, Pixels], str], tmp_path: Path
) -> None:
    """Of 64 slices of a megabyte each, two in a chunk, the peak beyond Python's own is below 16."""
    # Pixels that compress fast, and slices that differ.
    data = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 1024, 1024))
    path = write(tmp_path, data if write is not mrc else data.astype(np.uint16))
    libraries = "import h5py, zarr, mrcfile, nibabel, tifffile, imagecodecs"
    script = f"""
import resource, sys
{libraries}
import numpy as np
from fibseg.stack import open_stack
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
first = open_stack(sys.argv[1]); first.read(0); first.read(1)
before = peak()
print(sum(int(image.sum()) for image in open_stack(sys.argv[1])), peak() - before)
"""
    # A small parent between: a child's peak begins with the memory of the process that forks it.
    start = [
        sys.executable,
        "-c",
        "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
    ]
    done = subprocess.run(
        [*start, sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    total, grown = done.stdout.split()
    assert int(total) == int(data.sum(dtype=np.int64))
    assert float(grown) < 16


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Gives tmp_path over HTTP on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as local:
        # A short poll, because the shutdown waits for its end.
        threading.Thread(target=local.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{local.server_port}"
        local.shutdown()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [ome_zarr_of("0.4"), ome_zarr_of("0.5")])
def test_zarr_by_url(write: Callable[[Path, Pixels], str], server: str, tmp_path: Path) -> None:
    data = pixels("uint16")
    path = Path(write(tmp_path, data)).relative_to(tmp_path)
    stack = open_stack(f"{server}/{path}")
    assert stack.voxel_size == tuple(VOXEL_SIZE)
    np.testing.assert_array_equal(stack.read(1), data[1])
    np.testing.assert_array_equal(
        open_stack(f"{server}/{path}/1" if "0" in path.name else f"{server}/{path}").read(0),
        data[0],
    )
    with pytest.raises(FibsegError, match="cannot be read"):
        open_stack(f"{server}/nothing.zarr")


def test_ome_zarr_is_read_by_its_own_library(tmp_path: Path) -> None:
    data = pixels("uint8")
    notes = {"classes": {"0": "background", "7": "mitochondrion"}}
    header = StackHeader(STACK_SHAPE, "uint8", VOXEL_SIZE, notes)
    with StackWriter(tmp_path / "labels.zarr", header) as file:
        for image in data:
            file.write(image)
    ome_zarr = loaded_ome_zarr()
    location = ome_zarr.io.parse_url(tmp_path / "labels.zarr")
    (node,) = ome_zarr.reader.Reader(location)()
    np.testing.assert_array_equal(np.asarray(node.data[0]), data)
    assert node.metadata["coordinateTransformations"] == [[{"type": "scale", "scale": VOXEL_SIZE}]]
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["nanometer"] * 3
    assert any(isinstance(spec, ome_zarr.reader.Label) for spec in node.specs)
    assert node.metadata["properties"] == {
        0: {"class": "background"},
        7: {"class": "mitochondrion"},
    }
    stack = open_stack(tmp_path / "labels.zarr")
    assert (stack.shape, stack.voxel_size) == (STACK_SHAPE, tuple(VOXEL_SIZE))
    np.testing.assert_array_equal(np.stack(list(stack)), data)


def test_a_pyramid_is_read_by_its_own_library(tmp_path: Path) -> None:
    """Voxels of 12 x 5 x 5 nm: z is halved with the second step, when they would be flat."""
    data = np.random.default_rng(0).integers(0, 9, (5, 1030, 259)).astype(np.uint8)
    header = StackHeader(data.shape, "uint8", (12, 5, 5), {"classes": {"0": "none"}})
    with StackWriter(tmp_path / "labels.zarr", header) as file:
        for image in data:
            file.write(image)
    ome_zarr = loaded_ome_zarr()
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(tmp_path / "labels.zarr"))()
    steps = [(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8)]
    assert len(node.data) == len(steps)
    transformations = node.metadata["coordinateTransformations"]
    for level, scales, (z, y, x) in zip(node.data, transformations, steps, strict=True):
        np.testing.assert_array_equal(np.asarray(level), data[::z, ::y, ::x])
        assert scales == [{"type": "scale", "scale": [12 * z, 5 * y, 5 * x]}]


def test_zarr_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    header = StackHeader((2, 4, 4), "uint8")
    with pytest.raises(RuntimeError), StackWriter(path, header) as file:
        file.write(np.zeros((4, 4), np.uint8))
        raise RuntimeError
    short = StackWriter(path, header)
    with pytest.raises(ValueError, match="1 slices written, expected 2"), short as file:
        file.write(np.zeros((4, 4), np.uint8))
    with StackWriter(path, StackHeader((1, 4, 4), "uint8")) as file:
        with pytest.raises(ValueError, match=r"slice is \(4, 5\)"):
            file.write(np.zeros((4, 5), np.uint8))
        file.write(np.zeros((4, 4), np.uint8))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]
    assert open_stack(path).voxel_size is None


@pytest.mark.parametrize(
    ("axes", "order"),
    [("zyx", (0, 1, 2)), ("xzy", (2, 0, 1)), ("yxz", (1, 2, 0)), ("cxyzt", (2, 1, 0))],
)
def test_axes_in_any_order(tmp_path: Path, axes: str, order: tuple[int, ...]) -> None:
    data = pixels("uint8")
    stored = data.transpose(order)
    stored = stored[None, ..., None] if len(axes) == 5 else stored
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=stored, chunks=(1,) * stored.ndim)
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": axis} for axis in axes]})
    np.testing.assert_array_equal(list(open_stack(tmp_path / "a.h5")), data)


@pytest.mark.parametrize("axes", ["yx", "xy"])
def test_two_axes_are_one_slice(tmp_path: Path, axes: str) -> None:
    image = pixels("uint16")[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=image if axes == "yx" else image.T)
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": axis} for axis in axes]})
    stack = open_stack(tmp_path / "a.h5")
    assert stack.shape == (1, *image.shape)
    np.testing.assert_array_equal(stack.read(0), image)


@pytest.mark.parametrize("axes", ["zzx", "yyx", "zxx", "zy", "zyxc", "abc"])
def test_axes_that_are_no_stack(tmp_path: Path, axes: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=pixels("uint8"))
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": axis} for axis in axes]})
    with pytest.raises(FibsegError, match=rf"axes {axes} of shape \(5, 37, 53\); expected z, y"):
        open_stack(tmp_path / "a.h5")


def test_a_layer_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    path = Path(hdf5(tmp_path, pixels("uint8")).partition(":")[0])
    stack = open_stack(f"{path}:/volumes/raw")
    stack.read(0)
    path.rename(tmp_path / "away.h5")
    # Slice 1 lies in the layer that was read with slice 0.
    np.testing.assert_array_equal(stack.read(1), pixels("uint8")[1])
    for _ in range(2):
        with pytest.raises(FibsegError, match=r"a\.h5:/volumes/raw, slice 2: cannot be read"):
            stack.read(2)
    (tmp_path / "away.h5").rename(path)
    np.testing.assert_array_equal(list(stack), pixels("uint8"))


@pytest.mark.parametrize(
    ("sizes", "units", "expected"),
    [
        ([2e-8, 5e-9, 5e-9], ["m"] * 3, (20.0, 5.0, 5.0)),
        ([200, 50, 50], ["Å"] * 3, (20.0, 5.0, 5.0)),
        ([1, 1, 1], ["pixel"] * 3, None),
        ([0, 1, 1], ["nm"] * 3, None),
        ([1, float("nan"), 1], ["nm"] * 3, None),
        ([1, 1], ["nm"] * 2, None),
    ],
)
def test_voxel_size(
    sizes: list[float], units: list[str], expected: tuple[float, float, float] | None
) -> None:
    assert voxel_size_in_nm(sizes, units) == expected


def two_channels(path: Path) -> str:
    tifffile.imwrite(
        path / "a.tif", np.zeros((3, 2, 8, 8), np.uint8), imagej=True, metadata={"axes": "ZCYX"}
    )
    return str(path / "a.tif")


def further_axes(path: Path) -> str:
    tifffile.imwrite(path / "a.tif", np.zeros((3, 2, 8, 8), np.uint8), photometric="minisblack")
    return str(path / "a.tif")


def two_pictures(path: Path) -> str:
    with tifffile.TiffWriter(path / "a.ome.tif", ome=True) as file:
        for depth in (3, 2):
            file.write(
                np.zeros((depth, 8, 8), np.uint8),
                photometric="minisblack",
                metadata={"axes": "ZYX"},
            )
    return str(path / "a.ome.tif")


def many_datasets(path: Path) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        for name in ("a", "b"):
            file[name] = np.zeros((2, 8, 8))
        file["number"] = 3
    return str(path / "a.h5")


def five_axes(path: Path) -> str:
    """Two axes too many: time, and three channels."""
    zarr.create_array(path / "a.zarr", data=np.zeros((1, 3, 2, 8, 8)))
    return str(path / "a.zarr")


def empty_group(path: Path) -> str:
    zarr.open_group(path / "a.zarr", mode="w").create_group("inside")
    return str(path / "a.zarr")


def half_block(path: Path) -> str:
    file = Path(imagej_block(path, pixels("uint8")))
    file.write_bytes(file.read_bytes()[:-100])
    return str(file)


def half_nifti(path: Path) -> str:
    file = Path(nifti(path, pixels("uint8")))
    file.write_bytes(file.read_bytes()[:-100])
    return str(file)


def text(name: str) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        (path / name).write_text("no picture")
        return str(path / name)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (two_channels, "several channels or times"),
        (further_axes, "several channels or times"),
        (two_pictures, "several channels or times .*pictures"),
        (many_datasets, "holds /a, /b; name one of them"),
        (lambda path: many_datasets(path) + ":/c", "holds no data set /c; it holds /a, /b"),
        (lambda path: many_datasets(path) + ":/number", r"axes \(unknown\) of shape \(\)"),
        (lambda path: str(path / "none.h5:/a"), "no such file"),
        (five_axes, r"several channels or times \(\{'c': 3\}\)"),
        (empty_group, "a Zarr group that holds inside; name an array"),
        (lambda path: str(path / "none.zarr"), "no such array"),
        (lambda path: zarr_2(path, pixels("uint8")) + "/deeper", "no such array|cannot be read"),
        (half_block, "cut off"),
        (half_nifti, "cut off"),
        *(
            (text(f"a.{ending}"), "damaged, cut off or no image")
            for ending in ("h5", "mrc", "nii", "tif", "png")
        ),
        (text("a.nrrd"), "is not read here; save it as NIfTI"),
        (text("a.nii.gz"), "unpack it first"),
        (text("a.xyz"), "is not known; expected .tif"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    write: Callable[[Path], str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FibsegError, match=message) as raised:
        open_stack(write(tmp_path))
    assert len(str(raised.value).splitlines()) == 1
