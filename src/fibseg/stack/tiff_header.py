"""What the pages and descriptions of a TIFF state, read without pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from fibseg.errors import FibsegError
from fibseg.stack.base import surplus
from fibseg.stack.failures import damage_named
from fibseg.stack.units import VoxelSize, voxel_size_in_nm

JPEG = {
    tifffile.COMPRESSION.OJPEG,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.ALT_JPEG,
    tifffile.COMPRESSION.JPEG_LOSSY,
}
"""Compressions that change grey values and have no checksum."""


@dataclass(frozen=True)
class TiffHeader:
    """The header of a TIFF.

    Attributes:
        shapes: shape of each page.
        dtypes: types of pixels that occur.
        planes: whether the first page stores its channels one after another.
        palettes: colours of the indices of each page, as in `Stack`.
        block: slices that lie behind a single page, 1 where every slice has a page.
        offset: byte at which the first page's pixels begin.
        contiguous: whether the first page is stored uncompressed in one piece.
        byte_order: "<" or ">".
        voxel_size: (z, y, x) in nm, None where nothing states it.
        ome: OME-XML, empty without any.
        jpeg: whether a page is compressed as JPEG.
        doubts: what is odd, as sentences.
    """

    shapes: list[tuple[int, ...]]
    dtypes: set[Any]
    planes: bool
    palettes: list[bytes]
    block: int
    offset: int
    contiguous: bool
    byte_order: Any
    voxel_size: VoxelSize | None
    ome: str
    jpeg: bool
    doubts: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the first page's pixels."""
        dtype: np.dtype[Any] = np.dtype(next(iter(self.dtypes)))
        return dtype


def read_tiff_header(path: Path) -> TiffHeader:
    """Read what a file states, and check that it holds as many slices.

    Raises:
        FibsegError: the file is damaged or cut off, or holds channels or times.
    """
    with damage_named(path), tifffile.TiffFile(path) as file:
        # All pages are visited: a broken chain of pages is noticed here and not hours later.
        pages = list(file.pages)
        first = file.pages.first
        # A damaged tag holds several numbers where it should hold one.
        shapes = [tuple(int(length) for length in page.shape) for page in pages]
        separate = first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        block, doubts = _check_arrays(path, file, shapes)
        return TiffHeader(
            shapes=shapes,
            dtypes={page.dtype for page in pages},
            planes=len(shapes[0]) == 3 and separate,
            palettes=[_palette(page) for page in pages],
            block=block,
            offset=first.dataoffsets[0],
            contiguous=bool(first.is_contiguous),
            byte_order=file.byteorder,
            voxel_size=_voxel_size(file),
            ome=(file.ome_metadata or "") if file.is_ome else "",
            jpeg=any(page.compression in JPEG for page in pages),
            doubts=(*doubts, *_page_doubts(path, pages, block)),
        )


def axis_doubt(path: Path, axis: str) -> str:
    """Say that the slices follow each other along another axis than z."""
    name = {"C": "channels", "T": "times"}.get(axis, axis)
    return f"{path}: its slices are saved as {name}; they are taken as slices along z."


def _check_arrays(
    path: Path, file: tifffile.TiffFile, shapes: list[tuple[int, ...]]
) -> tuple[int, list[str]]:
    """Check what the description promises; return the slices behind one page, and doubts."""
    # In an OME-TIFF the order of pages says more, which `ome` reads.
    if file.is_ome:
        return 1, []
    if file.is_imagej:
        return _check_imagej(path, file)
    if file.is_shaped:
        return _check_shaped(path, file, shapes)
    # Formats of microscopes keep several slices, times or channels in a page, or thumbnails.
    kinds = [
        kind for kind in ("stk", "lsm", "fluoview", "nih", "scn") if getattr(file, f"is_{kind}")
    ]
    if kinds:
        raise FibsegError(
            f"{path}: a TIFF of the kind {kinds[0].upper()}, which orders its slices in its own "
            "way; save it as a plain TIFF or OME-TIFF, in Fiji for example."
        )
    return 1, []


def _check_imagej(path: Path, file: tifffile.TiffFile) -> tuple[int, list[str]]:
    metadata = file.imagej_metadata or {}
    axes = {"T": "frames", "Z": "slices", "C": "channels"}
    lengths = {axis: int(metadata.get(name, 1)) for axis, name in axes.items()}
    longer = {axis: length for axis, length in lengths.items() if length > 1}
    if len(longer) > 1:
        others = {axis: length for axis, length in longer.items() if axis != "Z"}
        raise FibsegError(f"{path}: several channels or times ({others}); save one of them.")
    doubts = [axis_doubt(path, axis) for axis in longer if axis != "Z"]
    return int(metadata.get("images", 1)), doubts


def _check_shaped(
    path: Path, file: tifffile.TiffFile, shapes: list[tuple[int, ...]]
) -> tuple[int, list[str]]:
    """Check tifffile's descriptions: of the whole array, or of each array that was appended."""
    arrays = list(file.shaped_metadata or ())
    declared = [tuple(int(length) for length in array["shape"]) for array in arrays]
    for shape, array in zip(declared, arrays, strict=True):
        axes = str(array.get("axes", ""))
        # Up to three axes can be z, y and x; more cannot, unless the last are samples of a colour.
        lengths = [length for length in shape if length != 1]
        if len(lengths) > (3 if len(shapes[0]) == 2 else 4):
            raise FibsegError(
                f"{path}: several channels or times ({{'axes of': {lengths}}}); save one of them."
            )
        if len(axes) == len(shape) and not axes.removesuffix("S").endswith("YX"):
            raise FibsegError(
                f"{path}: its axes are {axes}; expected pages of y and x, as in ZYX (transpose it)."
            )
    pixels = sum(int(np.prod(shape)) for shape in declared)
    if arrays and arrays[0].get("truncate"):
        return pixels // int(np.prod(shapes[0])), []
    # A file that was cut between two pages is a valid TIFF of fewer slices.
    if pixels != sum(int(np.prod(shape)) for shape in shapes):
        raise FibsegError(
            f"{path}: the file is cut off: it says {declared[0]} and holds {len(shapes)} slices."
        )
    if len(arrays) > 1 and any(len(shape) > len(shapes[0]) and shape[0] > 1 for shape in declared):
        return 1, [f"{path}: holds {len(arrays)} stacks; they are read as slices of a single one."]
    return 1, []


def _palette(page: Any) -> bytes:
    """Read the colours of a page's indices; empty where it has none, or index i is grey value i."""
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
        return b""
    # (3, N) of 16 bits; some programs write values of 8 bits.
    colours = np.asarray(page.colormap).T
    shades = (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)
    ramp = np.arange(len(shades))[:, None] == shades
    return b"" if ramp.all() else shades.tobytes()


def _page_doubts(path: Path, pages: list[Any], block: int) -> list[str]:
    """Say what pages hold that changes how pixels are to be taken."""
    first = pages[0]
    doubts: list[str] = []
    # ImageJ's block of slices behind a page, where its description is lost.
    if len(pages) == 1 and first.is_contiguous and block == 1:
        rest = surplus(path, first.dataoffsets[0] + 2 * first.nbytes - 1)
        doubts.extend(rest)
    if any(_has_more_bytes(page) for page in pages):
        doubts.append(f"{path}: more bytes are stored than its pixels need; look at them.")
    if any(0 in page.databytecounts for page in pages):
        doubts.append(f"{path}: parts of its slices are not stored; they are read as 0.")
    if any(page.compression in JPEG for page in pages):
        doubts.append(
            f"{path}: compressed as JPEG, which changes grey values and does not show all damage."
        )
    if first.photometric == tifffile.PHOTOMETRIC.MINISWHITE and first.bitspersample > 1:
        doubts.append(f"{path}: its values count from white to black; they are taken as stored.")
    orientation = first.tags.valueof("Orientation", default=1)
    if orientation != tifffile.ORIENTATION.TOPLEFT:
        doubts.append(
            f"{path}: its tag says that slices are turned or mirrored (orientation "
            f"{int(orientation)}); they are taken as stored."
        )
    return doubts


def _has_more_bytes(page: Any) -> bool:
    """Whether uncompressed strips are longer than their pixels, as compressed ones may be."""
    plain = page.compression == tifffile.COMPRESSION.NONE and not page.is_tiled
    return plain and page.bitspersample % 8 == 0 and sum(page.databytecounts) > page.nbytes


def _voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    if file.is_ome:
        return _ome_voxel_size(file.ome_metadata or "")
    return _imagej_voxel_size(file) if file.is_imagej else None


def _ome_voxel_size(description: str) -> VoxelSize | None:
    """Read OME's attributes PhysicalSizeX, PhysicalSizeXUnit and so on; the default unit is um."""
    attributes = dict(re.findall(r'\b(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', description))
    try:
        sizes = [float(attributes[f"PhysicalSize{axis}"]) for axis in "ZYX"]
    except (KeyError, ValueError):
        return None
    units = [attributes.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"]
    return voxel_size_in_nm(sizes, units)


def _imagej_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """Read ImageJ's spacing of slices, and its pixels per unit from the resolution tags."""
    metadata = file.imagej_metadata or {}
    tags = file.pages.first.tags
    try:
        z = float(metadata["spacing"])
        # A resolution is a fraction: pixels over units. Its inverse is the size of a pixel.
        pixels_y, units_y = tags["YResolution"].value
        pixels_x, units_x = tags["XResolution"].value
        sizes = [z, units_y / pixels_y, units_x / pixels_x]
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        return None
    # ImageJ writes the micro sign as the six characters of its escape.
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "u")
    return voxel_size_in_nm(sizes, [unit] * 3)
