"""Stacks in all formats, damaged in ways that happen to files, and what reading them comes to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.stack import open_stack
from tests.support import stack_files as formats


def zarr_of(**options: object) -> Callable[[Path, Pixels], str]:
    """A writer of Zarr in chunks of two slices with these options of `zarr.create_array`."""

    def write(path: Path, data: Pixels) -> str:
        zarr.create_array(path / "a.zarr", data=data, chunks=(2, 16, 16), **options)
        return str(path / "a.zarr")

    return write


def palette_slices(path: Path, data: Pixels) -> str:
    for z, image in enumerate(data):
        picture = Image.fromarray(image % 7, "P")
        picture.putpalette(np.random.default_rng(0).integers(0, 255, 21).astype(np.uint8).tobytes())
        picture.save(path / f"z{z}.png")
    return str(path)


def ome_set(path: Path, data: Pixels) -> str:
    """A file per slice, each naming the others; z runs against the order of the names."""
    depth, height, width = data.shape
    places = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="s{depth - 1 - z}.ome.tif">'
        f"urn:uuid:{z}</UUID></TiffData>"
        for z in range(depth)
    )
    for z, image in enumerate(data):
        description = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" SizeY="{height}" '
            f'SizeZ="{depth}" SizeC="1" SizeT="1">{places}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            path / f"s{depth - 1 - z}.ome.tif",
            image,
            compression="zlib",
            metadata=None,
            description=description,
        )
    return str(path / "s0.ome.tif")


def packed_hdf5(path: Path, data: Pixels) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("a", data=data, chunks=(2, 16, 16), compression="gzip", fletcher32=True)
    return str(path / "a.h5")


@dataclass(frozen=True)
class Format:
    """A way to store the test stack.

    Attributes:
        write: writes it into a folder.
        dtype: type of its pixels.
        sums: whether pixels, as they are stored, have a checksum.
        by_name: whether slices are files known by nothing but their names.
    """

    write: Callable[[Path, Pixels], str]
    dtype: str = "uint8"
    sums: bool = False
    by_name: bool = False


FORMATS = {
    "BigTIFF": Format(formats.bigtiff),
    "tiled TIFF": Format(formats.tiled_tiff),
    "OME-TIFF": Format(formats.ome_tiff, sums=True),
    "OME-TIFF of several files": Format(ome_set, sums=True),
    "ImageJ": Format(formats.imagej),
    "ImageJ's block": Format(formats.imagej_block),
    # The list of chunks has no checksum in this version of HDF5, and a chunk that is not listed
    # reads as zeros.
    "HDF5": Format(formats.hdf5),
    "HDF5 with checksums": Format(packed_hdf5),
    "ilastik": Format(formats.ilastik),
    "MRC": Format(formats.mrc, "uint16"),
    "NIfTI": Format(formats.nifti),
    "Zarr 2": Format(formats.zarr_2),
    "Zarr 2, Blosc": Format(zarr_of(zarr_format=2, compressors=numcodecs.Blosc())),
    "Zarr 2, zlib": Format(zarr_of(zarr_format=2, compressors=numcodecs.Zlib()), sums=True),
    "Zarr 2, LZ4": Format(zarr_of(zarr_format=2, compressors=numcodecs.LZ4())),
    "Zarr 3, shards": Format(formats.zarr_3),
    "Zarr 3, Blosc": Format(zarr_of(compressors=zarr.codecs.BloscCodec())),
    "OME-Zarr": Format(formats.ome_zarr_of("0.4")),
    "PNG": Format(formats.png_slices, sums=True, by_name=True),
    "PNG, palette": Format(palette_slices, sums=True, by_name=True),
}


@dataclass(frozen=True)
class WholeStack:
    """An undamaged stack: its format, its folder, its path in the folder, its pixels."""

    format: Format
    folder: Path
    inside: str
    pixels: Pixels


def write_whole_stack(folder: Path, form: Format) -> WholeStack:
    folder.mkdir()
    path = form.write(folder, formats.pixels(form.dtype))
    inside = path.removeprefix(f"{folder}").removeprefix("/")
    return WholeStack(form, folder, inside, np.stack(list(open_stack(path))))


@dataclass(frozen=True)
class Damage:
    """One change of one file.

    Attributes:
        kind: "cut", "flip", "zeros", "head" (a flip within the first bytes) or "lost" (no file).
        at: where in the file, from 0 to 1.
        number: bits that are flipped, or bytes that become 0.
        file: a number that chooses the file.
    """

    kind: str
    at: float
    number: int
    file: int

    def place(self, size: int) -> int:
        """First byte that changes, of a file of `size` bytes."""
        return min(int(self.at * size * (0.02 if self.kind == "head" else 1)), size - 1)

    def apply(self, folder: Path) -> Path:
        """Change a file below a folder; return its path."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[self.file % len(files)]
        content = bytearray(path.read_bytes())
        at = self.place(len(content))
        if self.kind == "lost":
            path.unlink()
            return path
        if self.kind == "cut":
            del content[at:]
        elif self.kind == "zeros":
            content[at : at + self.number] = bytes(len(content[at : at + self.number]))
        else:
            content[at] ^= self.number
        path.write_bytes(content)
        return path


def random_damage(generator: np.random.Generator) -> Damage:
    kind = generator.choice(["cut", "flip", "zeros", "head", "lost"], p=[0.3, 0.3, 0.2, 0.15, 0.05])
    return Damage(
        kind=str(kind),
        at=float(generator.random()),
        number=int(generator.integers(1, 255 if kind != "zeros" else 64)),
        file=int(generator.integers(1000)),
    )


def outcome(whole: WholeStack, damage: Damage, copy: Path) -> str:
    """Damage a copy of a stack and read it; say what came of it.

    "refused" with a sentence, the "same" pixels, "warned" by a doubt, or "honest": bytes of pixels
    that no checksum guards. Anything else is told as it is, and is wrong.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole.folder, copy)
    damaged = damage.apply(copy)
    try:
        stack = open_stack(f"{copy}/{whole.inside}")
        pixels = np.stack(list(stack))
    except FibsegError as error:
        lines = str(error).splitlines()
        return "refused" if len(lines) == 1 and lines[0] else f"{len(lines)} lines: {error}"
    truth = whole.pixels
    alike = pixels.shape == truth.shape and pixels.dtype == truth.dtype
    if alike and np.array_equal(pixels, truth):
        return "same"
    if stack.doubts:
        return "warned"
    if alike and not whole.format.sums and damage.kind in ("flip", "head", "zeros"):
        # A damaged chunk of two slices, a tile or a page at most.
        return (
            "honest"
            if (pixels != truth).sum() <= 2 * truth[0].size
            else f"many slices changed: {damage}, {damaged}"
        )
    ends = sorted(path.name for path in whole.folder.iterdir())
    # The first or the last file of a folder is missed by nobody.
    if whole.format.by_name and damage.kind == "lost" and damaged.name in (ends[0], ends[-1]):
        return "honest"
    return f"{damage} of {damaged.name}: {pixels.shape} {pixels.dtype}, other pixels"
