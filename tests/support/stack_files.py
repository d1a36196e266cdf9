"""Stacks in the files of other libraries, one function per format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import nibabel
import numpy as np
import skimage.io
import tifffile
import zarr

from fibseg.arrays import Pixels

STACK_SHAPE = (5, 37, 53)

VOXEL_SIZE = [20.0, 5.0, 4.0]
"""In nm."""


def loaded_ome_zarr() -> Any:
    """The library, which loads for two seconds: not every process that imports the tests does."""
    with warnings.catch_warnings():
        # ome_zarr calls what it calls deprecated.
        warnings.simplefilter("ignore")
        import ome_zarr.format
        import ome_zarr.io
        import ome_zarr.reader
        import ome_zarr.writer
    return ome_zarr


def pixels(dtype: str) -> Pixels:
    generator = np.random.default_rng(0)
    if dtype == "float32":
        return generator.normal(size=STACK_SHAPE).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, STACK_SHAPE).astype(dtype)


def bigtiff(path: Path, data: Pixels) -> str:
    tifffile.imwrite(
        path / "a.tif", data, bigtiff=True, compression="zstd", photometric="minisblack"
    )
    return str(path / "a.tif")


def tiled_tiff(path: Path, data: Pixels) -> str:
    tifffile.imwrite(
        path / "a.btf",
        data,
        bigtiff=True,
        compression="lzw",
        tile=(16, 16),
        photometric="minisblack",
    )
    return str(path / "a.btf")


def ome_tiff(path: Path, data: Pixels) -> str:
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 0.004,
        "PhysicalSizeY": 0.005,
        "PhysicalSizeZ": 20.0,
    }
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "nm"}
    tifffile.imwrite(path / "a.ome.tif", data, ome=True, metadata=metadata, compression="zlib")
    return str(path / "a.ome.tif")


def imagej(path: Path, data: Pixels) -> str:
    metadata = {"axes": "ZYX", "spacing": 0.02, "unit": "um"}
    tifffile.imwrite(path / "a.tif", data, imagej=True, resolution=(250, 200), metadata=metadata)
    return str(path / "a.tif")


def imagej_block(path: Path, data: Pixels) -> str:
    """One page for all slices, as ImageJ saves above 4 GB."""
    metadata = {"axes": "ZYX", "spacing": 0.02, "unit": "um"}
    with tifffile.TiffWriter(path / "a.tif", imagej=True) as file:
        file.write(data, resolution=(250, 200), metadata=metadata, truncate=True)
    with tifffile.TiffFile(path / "a.tif") as file:
        assert len(file.pages) == 1
    return str(path / "a.tif")


def _chunks(data: Pixels) -> tuple[int, int, int]:
    """Two slices deep; several in a slice, but not so many that a large file takes long."""
    _, height, width = data.shape
    return 2, max(16, height // 4), max(16, width // 4)


def hdf5(path: Path, data: Pixels) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        raw = file.create_dataset(
            "volumes/raw", data=data, chunks=_chunks(data), compression="gzip"
        )
        raw.attrs["element_size_um"] = [0.02, 0.005, 0.004]
        file.create_dataset("volumes/other", data=data[:1])
    return str(path / "a.h5:/volumes/raw")


def ilastik(path: Path, data: Pixels, axes: str = "xyzc") -> str:
    """As ilastik exports, with axis tags; here in another order and with a channel."""
    with h5py.File(path / "a.hdf5", "w") as file:
        labels = file.create_dataset("exported_data", data=data.transpose(2, 1, 0)[..., None])
        tags = [{"key": key, "typeFlags": 2} for key in axes]
        labels.attrs["axistags"] = json.dumps({"axes": tags})
    return str(path / "a.hdf5")


def zarr_2(path: Path, data: Pixels) -> str:
    group = zarr.open_group(path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("raw/em", data=data, chunks=_chunks(data))
    return str(path / "a.zarr" / "raw" / "em")


def zarr_3(path: Path, data: Pixels) -> str:
    zarr.create_array(path / "a.zarr", data=data, chunks=(1, 16, 16), shards=(2, 32, 32))
    return str(path / "a.zarr")


def ome_zarr_of(version: str) -> Callable[[Path, Pixels], str]:
    def write(path: Path, data: Pixels) -> str:
        ome_zarr = loaded_ome_zarr()
        kind = ome_zarr.format.FormatV04() if version == "0.4" else ome_zarr.format.FormatV05()
        group = zarr.open_group(path / "a.ome.zarr", mode="w", zarr_format=kind.zarr_format)
        scale = dict(zip("zyx", VOXEL_SIZE, strict=True))
        units = dict.fromkeys("zyx", "nanometer")
        smaller = data[:, ::2, ::2]
        ome_zarr.writer.write_multiscale(
            [data, smaller], group, kind, ["z", "y", "x"], scale=scale, axes_units=units
        )
        return str(path / "a.ome.zarr")

    return write


def mrc(path: Path, data: Pixels) -> str:
    with mrcfile.new(path / "a.mrc") as file:
        file.set_data(data)
        file.voxel_size = (40.0, 50.0, 200.0)  # x, y, z in Angstrom
    return str(path / "a.mrc")


def nifti(path: Path, data: Pixels) -> str:
    image = nibabel.Nifti1Image(data.T, np.diag([4e-3, 5e-3, 20e-3, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path / "a.nii")
    return str(path / "a.nii")


def png_slices(path: Path, data: Pixels) -> str:
    """A folder of slices by scikit-image."""
    for z, image in enumerate(data):
        skimage.io.imsave(path / f"z{z}.png", image, check_contrast=False)
    return str(path)


def zarr_5d(path: Path, data: Pixels) -> str:
    """A resolution of an OME-Zarr picture with time and channel, named by itself."""
    group = zarr.open_group(path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=data[None, None], chunks=(1, 1, 3, 16, 16))
    units = [{"name": axis, "unit": "micrometer"} for axis in "tczyx"]
    scales = (
        {"type": "scale", "scale": [1, 1, 0.01, 0.005, 0.004]},
        {"type": "scale", "scale": [1, 1, 2, 1, 1]},
    )
    resolution = {"path": "0", "coordinateTransformations": [scales[0]]}
    group.attrs["multiscales"] = [
        {"axes": units, "datasets": [resolution], "coordinateTransformations": [scales[1]]}
    ]
    return str(path / "a.zarr" / "0")
