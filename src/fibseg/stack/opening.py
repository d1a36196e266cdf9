"""From a path to a stack: which format it is, and slices of a folder put in order."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.stack.base import Stack, checked, natural_key
from fibseg.stack.hdf5 import open_hdf5
from fibseg.stack.mrc import open_mrc
from fibseg.stack.nifti import open_nifti
from fibseg.stack.png import open_png
from fibseg.stack.tiff import open_tiff
from fibseg.stack.zarr import is_zarr, open_zarr

READERS: dict[str, Callable[[Path], Stack]] = {
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
"""File ending -> reader. Zarr is found by what lies in the folder."""

SLICES = (".tif", ".tiff", ".png")
"""Endings of files that a folder of slices may hold."""

MISSING = {
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
"""Formats that people have and this does not read, and what to do."""


def open_stack(path: str | Path) -> Stack:
    """Open a stack without reading its pixels.

    Args:
        path: a multi-page TIFF; a TIFF or PNG of one slice, a folder of such slices, or a glob of them, taken in
            natural order (z2 before z10); HDF5 as FILE.h5:/DATASET, or FILE.h5 where it holds one stack; Zarr or
            OME-Zarr as STORE.zarr/ARRAY or STORE.zarr, on a disk or by URL; MRC; NIfTI.

    Raises:
        FibsegError: nothing is there, the format is unknown, the slices differ in size or type, or a file is damaged.
    """
    text = str(path)
    if "://" in text or is_zarr(text):
        return checked(open_zarr(text))
    file, dataset = split_dataset(text)
    if dataset:
        if not Path(file).is_file():
            raise FibsegError(f"{file}: no such file.")
        return checked(open_hdf5(Path(file), dataset))
    found = _slice_paths(text)
    return checked(_open_slices(text, found) if len(found) > 1 else _reader(found[0])(found[0]))


def located(root: str | Path, path: str) -> str:
    """A path of a data description, which is relative to its root unless it is absolute or a URL.

    >>> located("data", "a/b.tif"), located("data", "https://host/c.zarr"), located("s3://bucket", "c.zarr")
    ('data/a/b.tif', 'https://host/c.zarr', 's3://bucket/c.zarr')
    """
    if "://" in path:
        return path
    return f"{str(root).rstrip('/')}/{path}" if "://" in str(root) else str(Path(root) / path)


def split_dataset(path: str) -> tuple[str, str]:
    """FILE.h5:/DATASET -> its two parts; the second is empty where no data set is named.

    >>> split_dataset("a/b.h5:/volumes/raw"), split_dataset("a/b.h5")
    (('a/b.h5', '/volumes/raw'), ('a/b.h5', ''))
    """
    match = re.fullmatch(r"(.*\.(?:h5|hdf5|hdf))[:/](/?.+)", path, re.IGNORECASE)
    if match is None or Path(path).exists():
        return path, ""
    return match[1], "/" + match[2].strip("/")


def _slice_paths(path: str) -> list[Path]:
    if Path(path).is_dir():
        found = [
            entry
            for entry in Path(path).iterdir()
            if entry.suffix.lower() in SLICES and entry.name[0] != "."
        ]
        if not found:
            raise FibsegError(
                f"{path}: the folder holds no slices; expected files ending in {', '.join(SLICES)}."
            )
    elif glob.has_magic(path) and not Path(path).exists():
        found = [Path(entry) for entry in glob.glob(path)]
        if not found:
            raise FibsegError(f"{path}: no file matches this pattern.")
    else:
        found = [Path(path)]
        if not found[0].exists():
            raise FibsegError(f"{path}: no such file or folder.")
    return sorted(found, key=natural_key)


def _reader(path: Path) -> Callable[[Path], Stack]:
    ending = path.suffix.lower()
    if ending in READERS:
        return READERS[ending]
    known = ", ".join([*READERS, ".zarr"])
    raise FibsegError(
        f"{path}: the format {ending} is not read here; {MISSING[ending]}."
        if ending in MISSING
        else f"{path}: the format {ending or '(no ending)'} is not known; expected {known}."
    )


def _open_slices(name: str, paths: list[Path]) -> Stack:
    """A stack of one file per slice; only headers are read here."""
    slices = [_reader(path)(path) for path in paths]
    first = slices[0]
    for path, one in zip(paths, slices, strict=True):
        if one.shape[0] != 1:
            raise FibsegError(
                f"{path}: holds {one.shape[0]} slices; in a folder or glob every file is one slice."
            )
        if one.shape != first.shape or one.dtype != first.dtype:
            raise FibsegError(
                f"{path}: {_describe(one)}, but {paths[0].name} is {_describe(first)}; "
                "all slices of a stack must have one size and type."
            )
    _, height, width = first.shape
    return Stack(name, (len(slices), height, width), first.dtype, lambda z: slices[z].read(0))


def _describe(stack: Stack) -> str:
    _, height, width = stack.shape
    return f"{height} x {width} pixels of {stack.dtype}"
