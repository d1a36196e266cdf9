"""OME-XML of a TIFF: which page of which file each slice is.

The format is free in the order of pages, and a stack may lie in several files that all carry the
same description (https://docs.openmicroscopy.org/ome-model, "OME-TIFF specification").
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from fibseg.arrays import MOST_PIXELS
from fibseg.errors import FibsegError
from fibseg.stack.failures import damage_named


@dataclass(frozen=True)
class OmePlanes:
    """Where the slices of a picture lie.

    Attributes:
        size: (H, W) of a slice in pixels.
        axis: along which slices follow each other: "Z", or "C" or "T" where z has length 1.
        pages: file and page of each slice. The file is a name in the same folder, empty for the
            file itself.
    """

    size: tuple[int, int]
    axis: str
    pages: list[tuple[str, int]]

    @property
    def files(self) -> list[str]:
        """Names of other files that hold slices, in the order of the slices."""
        return [name for name in dict.fromkeys(name for name, _ in self.pages) if name]


def ome_planes(path: Path, description: str) -> OmePlanes | None:
    """Read the OME-XML of a file; None where it says nothing of pages.

    Raises:
        FibsegError: the XML is damaged, holds several pictures, channels or times, or leaves a
            slice out.
    """
    with damage_named(path):
        root = ElementTree.fromstring(description)
        if (binary := root.find("{*}BinaryOnly")) is not None:
            # The description of the whole set lies in a file of its own.
            return _of_companion(path, binary.get("MetadataFile", ""))
        return _planes(path, root, root.get("UUID", ""))


def _of_companion(path: Path, name: str) -> OmePlanes | None:
    """Read the planes from the file that holds the description of a set."""
    companion = path.with_name(_name_alone(name))
    if not companion.is_file():
        raise FibsegError(
            f"{path}: the order of its pages is described in {companion.name}, which is not in its "
            "folder; put it there."
        )
    root = ElementTree.fromstring(companion.read_bytes())
    return _planes(path, root, "")


def _planes(path: Path, root: ElementTree.Element, uuid: str) -> OmePlanes | None:
    pictures = root.findall("{*}Image")
    if len(pictures) > 1:
        raise FibsegError(
            f"{path}: several channels or times ({{'pictures': {len(pictures)}}}); save one of "
            "them."
        )
    pixels = pictures[0].find("{*}Pixels") if pictures else None
    if pixels is None:
        return None
    axis, depth = _slice_axis(path, pixels)
    pages: dict[int, tuple[str, int]] = {}
    for data in pixels.findall("{*}TiffData"):
        first = int(data.get(f"First{axis}", 0))
        page = int(data.get("IFD", 0))
        # "Default value is the number of IFDs in the TIFF file, unless an IFD is specified, in
        # which case the default value is 1."
        count = int(data.get("PlaneCount", 1 if "IFD" in data.attrib else depth))
        if first < 0 or page < 0 or first >= depth:
            raise ValueError(f"its OME description puts a page at slice {first} of {depth}")
        name = _file_of(data, uuid)
        for step in range(min(count, depth - first)):
            pages.setdefault(first + step, (name, page + step))
    # A description without any places has the pages in their order.
    pages = pages or {z: ("", z) for z in range(depth)}
    absent = next((z for z in range(depth) if z not in pages), None)
    if absent is not None:
        raise FibsegError(
            f"{path}: its OME description names no page for slice {absent} of {depth}; save it "
            "anew."
        )
    names = {name for name, _ in pages.values()}
    # A file that holds the whole stack may have been renamed since.
    if len(names) == 1:
        pages = {z: ("", page) for z, (_, page) in pages.items()}
    size = (int(pixels.get("SizeY", 0)), int(pixels.get("SizeX", 0)))
    return OmePlanes(size, axis, [_in(path, pages[z]) for z in range(depth)])


def _slice_axis(path: Path, pixels: ElementTree.Element) -> tuple[str, int]:
    """Choose the axis of the slices and its length."""
    lengths = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in "ZCT"}
    channel = pixels.find("{*}Channel")
    # The samples of a colour count as channels, but lie in one page.
    samples = int(channel.get("SamplesPerPixel", 1)) if channel is not None else 1
    lengths["C"] //= max(1, samples)
    longer = {axis: length for axis, length in lengths.items() if length > 1}
    if len(longer) > 1:
        others = {axis: length for axis, length in longer.items() if axis != "Z"}
        raise FibsegError(f"{path}: several channels or times ({others}); save one of them.")
    axis, depth = next(iter(longer.items()), ("Z", 1))
    if depth > MOST_PIXELS:
        raise ValueError(f"its OME description says {depth} slices")
    return axis, depth


def _file_of(data: ElementTree.Element, uuid: str) -> str:
    """Name the file of an entry; empty for the file that is read."""
    element = data.find("{*}UUID")
    if element is None or (uuid and (element.text or "").strip() == uuid):
        return ""
    return _name_alone(element.get("FileName", ""))


def _name_alone(name: str) -> str:
    """Drop the folders of a path in a description: a set lies in one folder, wherever it is."""
    return PureWindowsPath(name).name


def _in(path: Path, page: tuple[str, int]) -> tuple[str, int]:
    name, number = page
    return ("" if name == path.name else name), number
