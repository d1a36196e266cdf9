"""From a path to a stack: which format it is, and slices of a folder put in order."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, check_stack
from fibseg.stack.hdf5 import open_hdf5
from fibseg.stack.mrc import open_mrc
from fibseg.stack.nifti import open_nifti
from fibseg.stack.png import open_png
from fibseg.stack.tiff import open_tiff
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

_SLICE_ENDINGS = (".tif", ".tiff", ".png")
"""Endings of the files that are slices of a folder."""

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
    paths = _slice_paths(text)
    if len(paths) == 1:
        return check_stack(_reader(paths[0])(paths[0]))
    return check_stack(_open_slices(text, paths))


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts z2 before z10.

    >>> sorted([Path("z10.png"), Path("z2.png")], key=natural_key)[0].name
    'z2.png'
    """
    parts = re.split(r"(\d+)", str(path))
    # Pairs of one type, since Python does not compare a number with a text.
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


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


def _slice_paths(path: str) -> list[Path]:
    """List the files that a path, a folder or a glob stands for, in natural order."""
    if Path(path).is_dir():
        files = [
            entry
            for entry in Path(path).iterdir()
            # Hidden files are no slices: macOS leaves a ._NAME beside each file on foreign disks.
            if entry.suffix.lower() in _SLICE_ENDINGS and entry.name[0] != "."
        ]
        if not files:
            endings = ", ".join(_SLICE_ENDINGS)
            raise FibsegError(
                f"{path}: the folder holds no slices; expected files ending in {endings}."
            )
        return sorted(files, key=natural_key)
    # A name with brackets or a star in it may be a file all the same.
    if Path(path).exists():
        return [Path(path)]
    if not glob.has_magic(path):
        raise FibsegError(f"{path}: no such file or folder.")
    files = [Path(entry) for entry in glob.glob(path)]
    if not files:
        raise FibsegError(f"{path}: no file matches this pattern.")
    return sorted(files, key=natural_key)


def _reader(path: Path) -> Callable[[Path], Stack]:
    """Choose the reader of a file by its ending; FibsegError where there is none."""
    ending = path.suffix.lower()
    if ending in STACK_READERS:
        return STACK_READERS[ending]
    if ending in _UNREAD_FORMATS:
        raise FibsegError(
            f"{path}: the format {ending} is not read here; {_UNREAD_FORMATS[ending]}."
        )
    known = ", ".join([*STACK_READERS, ".zarr"])
    raise FibsegError(
        f"{path}: the format {ending or '(no ending)'} is not known; expected {known}."
    )


def _open_slices(name: str, paths: list[Path]) -> Stack:
    """Open a stack of one file per slice; only headers are read here."""
    # Headers are read at once, so that a slice of another size is reported before hours of work.
    slices = [_reader(path)(path) for path in paths]
    first = slices[0]
    for path, opened in zip(paths, slices, strict=True):
        if opened.shape[0] != 1:
            raise FibsegError(
                f"{path}: holds {opened.shape[0]} slices; "
                "in a folder or glob every file is one slice."
            )
        if opened.shape != first.shape or opened.dtype != first.dtype:
            raise FibsegError(
                f"{path}: {_size_and_type(opened)}, but {paths[0].name} is "
                f"{_size_and_type(first)}; all slices of a stack must have one size and type."
            )
    _, height, width = first.shape
    # Each read opens its own file: thousands of open files exceed a process's limit.
    return Stack(name, (len(slices), height, width), first.dtype, lambda z: slices[z].read(0))


def _size_and_type(stack: Stack) -> str:
    _, height, width = stack.shape
    return f"{height} x {width} pixels of {stack.dtype}"
