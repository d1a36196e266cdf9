"""Order, axes, types, units and places that files state, against the libraries that wrote them."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import nibabel
import numpy as np
import pytest
import tifffile
import zarr

from fibseg.errors import FibsegError
from fibseg.stack import open_stack
from tests.support.mutations import ome_set

DATA = np.random.default_rng(0).integers(0, 255, (5, 6, 7)).astype(np.uint8)


def ome_xml(axis: str, places: str, depth: int = 5) -> str:
    sizes = "".join(f' Size{name}="{depth if name == axis else 1}"' for name in "ZCT")
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
        f'SizeX="7" SizeY="6"{sizes}>{places}</Pixels></Image></OME>'
    )


def write_pages(path: Path, pages: np.ndarray, xml: str) -> Path:
    with tifffile.TiffWriter(path) as file:
        for z, page in enumerate(pages):
            file.write(page, metadata=None, description=xml if z == 0 else None, contiguous=False)
    return path


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [2, 0, 1, 4, 3]])
@pytest.mark.parametrize("axis", ["Z", "T", "C"])
def test_planes_of_an_ome_tiff_are_read_where_its_description_puts_them(
    order: list[int], axis: str, tmp_path: Path
) -> None:
    places = "".join(
        f'<TiffData IFD="{page}" First{axis}="{z}" PlaneCount="1"/>' for page, z in enumerate(order)
    )
    path = write_pages(tmp_path / "a.ome.tif", DATA[order], ome_xml(axis, places))
    stack = open_stack(path)
    np.testing.assert_array_equal(list(stack), DATA)
    np.testing.assert_array_equal(tifffile.imread(path), DATA)
    assert [axis in "CT"] == [bool(stack.doubts)]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ('<TiffData IFD="0" FirstZ="0" PlaneCount="3"/>', "names no page for slice 3 of 5"),
        ('<TiffData IFD="3" FirstZ="0" PlaneCount="5"/>', "the file is cut off"),
        ('<TiffData IFD="0" FirstZ="9" PlaneCount="1"/>', "puts a page at slice 9 of 5"),
        ("<TiffData", "cannot be read"),
    ],
)
def test_an_ome_description_that_does_not_fit(places: str, message: str, tmp_path: Path) -> None:
    path = write_pages(tmp_path / "a.ome.tif", DATA, ome_xml("Z", places))
    with pytest.raises(FibsegError, match=message):
        open_stack(path)


def test_an_ome_tiff_of_several_files(tmp_path: Path) -> None:
    """A file opens the whole set in its order; a folder or glob is ordered by it too."""
    path = ome_set(tmp_path, DATA)
    np.testing.assert_array_equal(tifffile.imread(path), DATA)
    for place in (path, f"{tmp_path}/s3.ome.tif", tmp_path, f"{tmp_path}/*.tif"):
        np.testing.assert_array_equal(list(open_stack(place)), DATA)
    assert open_stack(tmp_path).slice_numbers == (4, 3, 2, 1, 0)
    (tmp_path / "s2.ome.tif").unlink()
    with pytest.raises(
        FibsegError, match=r"part of a stack of 5 slices.*s2\.ome\.tif is not there"
    ):
        open_stack(path)


def test_an_ome_tiff_may_be_renamed_and_names_no_other_folder(tmp_path: Path) -> None:
    whole = (
        '<TiffData IFD="0" FirstZ="0" PlaneCount="5">'
        '<UUID FileName="before.ome.tif">urn:uuid:1</UUID></TiffData>'
    )
    path = write_pages(tmp_path / "after.ome.tif", DATA, ome_xml("Z", whole))
    np.testing.assert_array_equal(list(open_stack(path)), DATA)
    tifffile.imwrite(tmp_path / "secret.tif", DATA[0])
    inside = tmp_path / "inside"
    inside.mkdir()
    places = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}'
        "</UUID></TiffData>"
        for z, name in enumerate(["a.tif", "../secret.tif"])
    )
    path = write_pages(inside / "a.tif", DATA[:1], ome_xml("Z", places, depth=2))
    with pytest.raises(FibsegError, match=r"secret\.tif is not there"):
        open_stack(path)


def test_pages_with_a_description_each(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "loop.tif") as file:
        for page in DATA:
            file.write(page)
    for page in DATA:
        tifffile.imwrite(tmp_path / "append.tif", page, append=(tmp_path / "append.tif").exists())
    for name in ("loop.tif", "append.tif"):
        np.testing.assert_array_equal(list(open_stack(tmp_path / name)), DATA)
    with tifffile.TiffWriter(tmp_path / "cut.tif") as file:
        description = json.dumps({"shape": [5, 6, 7]})
        for z in range(3):
            file.write(DATA[z], metadata=None, description=description if z == 0 else None)
    with pytest.raises(FibsegError, match=r"cut off: it says \(5, 6, 7\) and holds 3 slices"):
        open_stack(tmp_path / "cut.tif")
    for _ in range(2):
        tifffile.imwrite(tmp_path / "two.tif", DATA, append=(tmp_path / "two.tif").exists())
    assert "2 stacks" in open_stack(tmp_path / "two.tif").doubts[0]


@pytest.mark.parametrize("axis", ["T", "C"])
def test_slices_that_imagej_calls_times_or_channels(axis: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DATA, imagej=True, metadata={"axes": f"{axis}YX"})
    stack = open_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(list(stack), DATA)
    assert "taken as slices along z" in stack.doubts[0]


def test_a_tiff_whose_pages_are_not_y_and_x(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DATA, metadata={"axes": "XYZ"})
    with pytest.raises(FibsegError, match="its axes are XYZ"):
        open_stack(tmp_path / "a.tif")


def zarr_named(name: str, order: list[str]) -> Callable[[Path, np.ndarray], str]:
    def write(path: Path, stored: np.ndarray) -> str:
        array = zarr.create_array(path / "a.zarr", data=stored, zarr_format=2)
        array.attrs[name] = order
        return str(path / "a.zarr")

    return write


def zarr_3_named(path: Path, stored: np.ndarray) -> str:
    zarr.create_array(path / "a.zarr", data=stored, dimension_names=["x", "y", "z"])
    return str(path / "a.zarr")


def zarr_transform(path: Path, stored: np.ndarray) -> str:
    array = zarr.create_array(path / "a.zarr", data=stored, zarr_format=2)
    array.attrs["transform"] = {"axes": ["x", "y", "z"], "scale": [4, 5, 20]}
    return str(path / "a.zarr")


def hdf5_labels(path: Path, stored: np.ndarray) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=stored)
        for axis, label in enumerate("xyz"):
            dataset.dims[axis].label = label
    return str(path / "a.h5")


def hdf5_scales(path: Path, stored: np.ndarray) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=stored)
        for axis, label in enumerate("xyz"):
            file[label] = np.arange(stored.shape[axis])
            file[label].make_scale(label)
            dataset.dims[axis].attach_scale(file[label])
    return str(path / "a.h5:/a")


@pytest.mark.parametrize(
    "write",
    [
        zarr_named("_ARRAY_DIMENSIONS", ["x", "y", "z"]),
        zarr_named("axes", ["X", "Y", "Z"]),
        zarr_named("dimensions", ["x", "y", "z"]),
        zarr_3_named,
        zarr_transform,
        hdf5_labels,
        hdf5_scales,
    ],
)
def test_axes_by_name(write: Callable[[Path, np.ndarray], str], tmp_path: Path) -> None:
    np.testing.assert_array_equal(list(open_stack(write(tmp_path, DATA.T))), DATA)


NM = {"axes": ["z", "y", "x"], "units": ["nm"] * 3}


@pytest.mark.parametrize(
    ("attributes", "size", "origin"),
    [
        ({"resolution": [8, 4, 2], "offset": [80, 40, 20]}, (8, 4, 2), (80, 40, 20)),
        ({"resolution": [8, 4, 2]}, (8, 4, 2), None),
        (
            {"voxel_size": [8, 4, 2], "offset": [0, 0, -2], "units": ["um", "nm", "nm"]},
            (8000, 4, 2),
            (0, 0, -2),
        ),
        ({"pixelResolution": {"dimensions": [2, 4, 8], "unit": "nm"}}, (8, 4, 2), None),
        (
            {"transform": NM | {"scale": [8, 4, 2], "translate": [80, 40, 20]}},
            (8, 4, 2),
            (80, 40, 20),
        ),
        (
            {"transform": {"axes": ["x", "y", "z"], "ordering": "F", "scale": [2, 4, 8]}},
            (8, 4, 2),
            None,
        ),
        ({"element_size_um": [0.008, 0.004, 0.002]}, (8, 4, 2), None),
        ({"resolution": "high"}, None, None),
        ({"resolution": [8, 4]}, None, None),
        ({"resolution": [8, 4, 2], "units": "voxels"}, None, None),
    ],
)
@pytest.mark.parametrize("kind", ["zarr", "hdf5"])
def test_sizes_and_places_in_attributes(
    kind: str,
    attributes: dict[str, object],
    size: tuple[float, ...] | None,
    origin: tuple[float, ...] | None,
    tmp_path: Path,
) -> None:
    if kind == "zarr":
        zarr.create_array(tmp_path / "a.zarr", data=DATA).attrs.update(attributes)
        stack = open_stack(tmp_path / "a.zarr")
    elif any(isinstance(value, dict) for value in attributes.values()):
        pytest.skip("an attribute of HDF5 is no dictionary")
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("a", data=DATA).attrs.update(attributes)
        stack = open_stack(tmp_path / "a.h5")
    assert (stack.voxel_size, stack.origin) == (size, origin)
    np.testing.assert_array_equal(list(stack), DATA)


def test_scales_and_translations_of_ome_zarr_follow_each_other(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("s0", data=DATA)
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    steps = [
        {"type": "scale", "scale": [0.01, 0.01, 0.005]},
        {"type": "translation", "translation": [1, 2, 0]},
    ]
    whole = [
        {"type": "scale", "scale": [2, 1, 1]},
        {"type": "translation", "translation": [0.5, 0, 0]},
    ]
    group.attrs["multiscales"] = [
        {
            "axes": axes,
            "datasets": [{"path": "s0", "coordinateTransformations": steps}],
            "coordinateTransformations": whole,
        }
    ]
    for path in ("a.zarr", "a.zarr/s0"):
        stack = open_stack(tmp_path / path)
        assert stack.voxel_size == (20, 10, 5)
        # (1 um * 2 + .5 um, 2 um, 0).
        assert stack.origin == (2500, 2000, 0)


@pytest.mark.parametrize(
    ("name", "stated", "dtype"),
    [
        ("t00000/s00/0/cells", None, "uint16"),
        ("t00012/s01/2/cells", None, "uint16"),
        ("t00000/s00/0/cells", "int16", "int16"),
        ("t00000/s00/0/other", None, "int16"),
        ("raw", None, "int16"),
    ],
)
def test_unsigned_values_of_bigdataviewer(
    name: str, stated: str | None, dtype: str, tmp_path: Path
) -> None:
    data = np.linspace(0, 65535, DATA.size).reshape(DATA.shape).astype(np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(name, data=data.view(np.int16), chunks=(2, 3, 7))
        file["s00/resolutions"] = np.ones((1, 3))
        if stated is not None:
            file["s00"].attrs["dataType"] = stated
    stack = open_stack(tmp_path / "a.h5")
    assert stack.dtype == dtype
    np.testing.assert_array_equal(list(stack), data.view(dtype))


def test_nifti_is_read_as_nibabel_orients_it(tmp_path: Path) -> None:
    """All 48 ways in which an affine orders and turns the axes."""
    path = tmp_path / "a.nii"
    for order, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product([1, -1], repeat=3)
    ):
        affine = np.eye(4)
        affine[:3, :3] = 0
        affine[list(order), range(3)] = np.array([2, 3, 4]) * signs
        affine[:3, 3] = [10, 20, 30]
        image = nibabel.Nifti1Image(DATA, affine)
        image.header.set_xyzt_units("micron")
        nibabel.save(image, path)
        stack = open_stack(path)
        canonical = nibabel.as_closest_canonical(nibabel.load(path))
        np.testing.assert_array_equal(list(stack), np.asarray(canonical.dataobj).T)
        sizes = np.array(canonical.header.get_zooms()) * 1000
        np.testing.assert_allclose(stack.voxel_size, sizes[::-1])
        np.testing.assert_allclose(stack.origin, canonical.affine[2::-1, 3] * 1000)
        assert bool(stack.doubts) == (order != (0, 1, 2) or min(signs) < 0)


def test_nifti_without_an_orientation_and_with_more_or_fewer_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for data in (DATA, DATA[..., None], DATA[..., None, None]):
        nibabel.save(nibabel.Nifti1Image(data, None), path)
        stack = open_stack(path)
        np.testing.assert_array_equal(list(stack), DATA.T)
        assert (stack.origin, stack.doubts) == (None, ())
    nibabel.save(nibabel.Nifti1Image(DATA[0], None), path)
    np.testing.assert_array_equal(list(open_stack(path)), [DATA[0].T])
    nibabel.save(nibabel.Nifti1Image(np.stack([DATA] * 2, -1), None), path)
    with pytest.raises(FibsegError, match="expected a volume of three axes"):
        open_stack(path)


@pytest.mark.parametrize("codes", list(itertools.permutations([1, 2, 3])))
def test_mrc_whose_header_orders_the_axes(codes: tuple[int, ...], tmp_path: Path) -> None:
    """`codes` say which axis the sections, rows and columns are: 3 is z."""
    path = tmp_path / "a.mrc"
    stored = DATA.transpose([3 - code for code in codes]).astype(np.uint16)
    with mrcfile.new(path) as file:
        file.set_data(stored)
        file.header.maps, file.header.mapr, file.header.mapc = codes
    np.testing.assert_array_equal(list(open_stack(path)), DATA)


def test_grey_values_of_two_and_four_bits_are_not_spread(tmp_path: Path) -> None:
    """Pillow makes 255, which means unannotated, of a 3 of two bits."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        total = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", total)

    for bits in (2, 4):
        values = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
        digits = ((values[..., None] >> np.arange(bits)[::-1]) & 1).reshape(2, -1)
        rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(digits, axis=1))
        header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
        np.testing.assert_array_equal(open_stack(tmp_path / "a.png").read(0), values)


def test_a_format_of_its_own_is_no_folder_of_slices(tmp_path: Path) -> None:
    container = tmp_path / "cell.n5"
    (container / "em" / "s0" / "0").mkdir(parents=True)
    (container / "attributes.json").write_text('{"n5": "2.5.0"}')
    described = {"dimensions": [7, 6, 5], "blockSize": [7, 6, 5], "dataType": "uint8"}
    (container / "em" / "s0" / "attributes.json").write_text(json.dumps(described))
    for path in ("cell.n5", "cell.n5/em", "cell.n5/em/s0"):
        with pytest.raises(FibsegError, match=r"\.n5 is not read here; save it as Zarr"):
            open_stack(tmp_path / path)
    shutil.move(container, tmp_path / "plain")
    for path in ("plain", "plain/em/s0"):
        with pytest.raises(FibsegError, match="save it as Zarr"):
            open_stack(tmp_path / path)
