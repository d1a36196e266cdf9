"""From a path to a stack: which format it is, and slices of a folder put in order."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, check_stack
from fibseg.stack.hdf5 import open_hdf5
from fibseg.stack.mrc import open_mrc
from fibseg.stack.nifti import open_nifti
from fibseg.stack.png import open_colour_png, open_png
from fibseg.stack.slices import in_order, open_slices
from fibseg.stack.tiff import open_colour_tiff, open_tiff, open_tiff_slice
from fibseg.stack.zarr import is_zarr, open_zarr

STACK_READERS: dict[str, Callable[[Path], Stack]] = {
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".btf": open_tiff,
    ".png": open_png,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".hdf": open_hdf5,
    ".mrc": open_mrc,
    ".rec": open_mrc,
    ".nii": open_nifti,
}
"""File ending -> reader. A Zarr store is known by the files in its folder."""

_SLICE_READERS: dict[str, Callable[[Path], Stack]] = {
    ".tif": open_tiff_slice,
    ".tiff": open_tiff_slice,
    ".png": open_png,
}
"""File ending -> reader of the files that are slices of a folder."""

_COLOUR_READERS: dict[str, Callable[[Path], Stack]] = {
    ".png": open_colour_png,
    ".tif": open_colour_tiff,
    ".tiff": open_colour_tiff,
}
"""File ending -> reader of colours as numbers."""

_UNREAD_FORMATS = {
    ".nrrd": "save it as NIfTI, TIFF or HDF5 (its library reads no single slice)",
    ".gz": "unpack it first (a compressed file cannot be read slice by slice)",
    ".am": "save it as TIFF in Amira",
    ".n5": "save it as Zarr",
    ".zip": "unpack it, or download labels of WEBKNOSSOS as TIFF or Zarr",
    ".mod": "make a label stack of it with IMOD's imodmop",
    ".jpg": "save it as PNG or TIFF (JPEG changes grey values)",
    ".jpeg": "save it as PNG or TIFF (JPEG changes grey values)",
    ".dm3": "save it as TIFF or MRC",
    ".dm4": "save it as TIFF or MRC",
    ".czi": "save it as OME-TIFF",
}
"""Ending of a format that is in use but not read here -> what to do instead."""


def open_stack(path: str | Path) -> Stack:
    """Open a stack without reading its pixels.

    Args:
        path: a multi-page TIFF; a TIFF or PNG of one slice, a folder of such slices, or a glob of
            them, taken in natural order (z2 before z10); HDF5 as FILE.h5:/DATASET, or FILE.h5
            where it holds one stack; Zarr or OME-Zarr as STORE.zarr/ARRAY or STORE.zarr, on a disk
            or by URL; MRC; NIfTI.

    Returns:
        The stack; its slices are read when they are asked for.

    Raises:
        FibsegError: nothing is there, the format is unknown, the slices differ in size or type, or
            a file is damaged.
    """
    text = str(path)
    # Zarr comes first: a store is a folder, and would pass for a folder of slices.
    if "://" in text or is_zarr(text):
        return check_stack(open_zarr(text))
    file, dataset = split_dataset(text)
    if dataset:
        # Asked here, since h5py's own message does not begin with the path.
        if not Path(file).is_file():
            raise FibsegError(f"{file}: no such file.")
        return check_stack(open_hdf5(Path(file), dataset))
    return _open_files(text, STACK_READERS, _SLICE_READERS)


def open_colours(path: str | Path) -> Stack:
    """Open label pictures in colours as numbers 0xRRGGBB, uint32, without reading their pixels.

    `path` is a PNG, a TIFF, or a folder or glob of such. Transparent pixels are 0; palettes and
    grey values become the colours that they stand for.

    Raises:
        FibsegError: as in `open_stack`, or colours are mixed: half transparent, or JPEG.
    """
    return _open_files(str(path), _COLOUR_READERS, _COLOUR_READERS)


def located(root: str | Path, path: str) -> str:
    """Resolve a path of a data description, which is relative to its root or absolute or a URL.

    >>> located("data", "a/b.tif"), located("data", "https://host/c.zarr")
    ('data/a/b.tif', 'https://host/c.zarr')
    >>> located("s3://bucket", "c.zarr")
    's3://bucket/c.zarr'
    """
    if "://" in path:
        return path
    # pathlib would make s3:/bucket of s3://bucket.
    return f"{str(root).rstrip('/')}/{path}" if "://" in str(root) else str(Path(root) / path)


def split_dataset(path: str) -> tuple[str, str]:
    """Split FILE.h5:/DATASET into its two parts; the second is empty where no data set is named.

    >>> split_dataset("a/b.h5:/volumes/raw"), split_dataset("a/b.h5")
    (('a/b.h5', '/volumes/raw'), ('a/b.h5', ''))
    """
    match = re.fullmatch(r"(.*\.(?:h5|hdf5|hdf))[:/](/?.+)", path, re.IGNORECASE)
    # A folder may be called data.h5: what exists as it stands is no data set.
    if match is None or Path(path).exists():
        return path, ""
    return match[1], "/" + match[2].strip("/")


def _slice_paths(path: str, endings: Iterable[str]) -> list[Path]:
    """List the files that a path, a folder or a glob stands for, in natural order."""
    if Path(path).is_dir():
        _check_folder(path)
        files = [
            entry
            for entry in Path(path).iterdir()
            # Hidden files are no slices: macOS leaves a ._NAME beside each file on foreign disks.
            if entry.suffix.lower() in endings and entry.name[0] != "."
        ]
        if not files:
            raise FibsegError(
                f"{path}: the folder holds no slices; "
                f"expected files ending in {', '.join(endings)}."
            )
        return in_order(files)
    # A name with brackets or a star in it may be a file all the same.
    if Path(path).exists():
        return [Path(path)]
    if not glob.has_magic(path):
        raise FibsegError(f"{path}: no such file or folder.")
    files = [Path(entry) for entry in _matches(path)]
    if not files:
        raise FibsegError(f"{path}: no file matches this pattern.")
    return in_order(files)


def _matches(pattern: str) -> list[str]:
    """List the files of a glob; brackets in a folder that exists are letters."""
    folders = [folder for folder in Path(pattern).parents if folder.is_dir()]
    inside = Path(pattern).relative_to(folders[0]) if folders else Path(pattern)
    start = f"{glob.escape(str(folders[0]))}/" if folders else ""
    # Where nothing fits a pattern with brackets, they are letters of the files' names.
    escaped = str(inside).replace("[", "[[]")
    return glob.glob(f"{start}{inside}") or glob.glob(f"{start}{escaped}")


def _check_folder(path: str) -> None:
    """Raise a FibsegError for a folder that is a file of another format."""
    folder = Path(path)
    above = [folder, *folder.parents]
    inside = any(part.suffix.lower() == ".n5" for part in above if part.is_dir())
    if inside or any(_is_n5(part) for part in above):
        raise FibsegError(f"{path}: the format .n5 is not read here; {_UNREAD_FORMATS['.n5']}.")


def _is_n5(folder: Path) -> bool:
    """Whether a folder has the attributes of an N5 container or data set."""
    try:
        attributes = json.loads((folder / "attributes.json").read_bytes())
    # There is none, or it is something else.
    except (OSError, ValueError):
        return False
    return isinstance(attributes, dict) and not {"n5", "blockSize"}.isdisjoint(attributes)


def _reader(path: Path, readers: Mapping[str, Callable[[Path], Stack]]) -> Callable[[Path], Stack]:
    """Choose the reader of a file by its ending; FibsegError where there is none."""
    ending = path.suffix.lower()
    if ending in readers:
        return readers[ending]
    if ending in _UNREAD_FORMATS:
        raise FibsegError(
            f"{path}: the format {ending} is not read here; {_UNREAD_FORMATS[ending]}."
        )
    known = ", ".join(dict.fromkeys([*readers, ".zarr"] if readers is STACK_READERS else readers))
    raise FibsegError(
        f"{path}: the format {ending or '(no ending)'} is not known; expected {known}."
    )


def _open_files(
    text: str,
    readers: Mapping[str, Callable[[Path], Stack]],
    slice_readers: Mapping[str, Callable[[Path], Stack]],
) -> Stack:
    """Open a file, or the files of a folder or a glob as slices."""
    paths = _slice_paths(text, slice_readers)
    # A folder or glob of a single file is a stack of files too, whose name has a number.
    if paths == [Path(text)] or (len(paths) == 1 and paths[0].suffix.lower() not in slice_readers):
        return check_stack(_reader(paths[0], readers)(paths[0]))
    if len(paths) == 1:
        opened = check_stack(_reader(paths[0], readers)(paths[0]))
        return (
            opened
            if opened.shape[0] > 1
            else check_stack(open_slices(text, paths, lambda _: opened))
        )
    both = {**readers, **slice_readers}
    return check_stack(open_slices(text, paths, lambda path: _reader(path, both)(path)))
