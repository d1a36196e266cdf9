"""Labels that people painted in other programs, as a TIFF of class numbers.

Every program has its own word for "nobody looked at this": ilastik's is 0, in napari and MIB an untouched slice is all
0 as background is. Here it becomes 255, so that it is neither trained on nor scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Pixels
from fibseg.errors import FibsegError
from fibseg.stack import (
    Stack,
    StackHeader,
    StackWriter,
    damage_named,
    open_stack,
    split_dataset,
    voxel_size_in_nm,
)

PLAIN = "napari or a plain stack"
"""The program of labels that say nothing of it."""


@dataclass(frozen=True)
class LabelSource:
    """Labels as another program left them.

    Attributes:
        program: that wrote them, as far as the file tells.
        stack: label values.
        names: class -> value, where the file tells.
        unlabelled: values that mean that nobody looked.
        empty_slices: what a slice of nothing but 0 means: "unlabelled" or "background".
    """

    program: str
    stack: Stack
    names: dict[str, int] = field(default_factory=dict)
    unlabelled: list[int] = field(default_factory=list)
    empty_slices: str = "unlabelled"


@dataclass(frozen=True)
class Imported:
    """Slices with any annotation, share of each class among the annotated pixels, and share of ignored pixels."""

    annotated: int
    shares: list[float]
    ignored: float


def open_labels(path: str) -> LabelSource:
    """Open labels and see which program wrote them: ilastik's HDF5, MIB's .model, else napari and plain stacks."""
    if Path(path).suffix.lower() == ".model":
        return _open_mib(Path(path))
    stack = open_stack(path)
    if stack.dtype.kind not in "uib":
        raise FibsegError(f"{stack.name}: values of type {stack.dtype}; labels are integers.")
    if _is_ilastik(path):
        return LabelSource("ilastik", stack, unlabelled=[0])
    return LabelSource(PLAIN, stack)


def _is_ilastik(path: str) -> bool:
    """Whether an HDF5 data set has axis tags, as ilastik writes them."""
    import h5py

    file, dataset = split_dataset(path)
    if not Path(file).is_file() or not h5py.is_hdf5(file):
        return False
    with damage_named(path), h5py.File(file, "r") as content:
        found: list[str] = [dataset] if dataset else []
        if not dataset:
            content.visititems(
                lambda name, one: found.append(name) if isinstance(one, h5py.Dataset) else None
            )
        return any("axistags" in content[name].attrs for name in found)


def _open_mib(path: Path) -> LabelSource:
    """A model of Microscopy Image Browser: a MATLAB 7.3 file, which is HDF5, with axes z, x, y in Python's order."""
    import h5py

    if not path.is_file():
        raise FibsegError(f"{path}: no such file.")
    if not h5py.is_hdf5(path):
        raise FibsegError(
            f"{path}: an older .model of MIB; save it there as Matlab 7.3, or as TIFF."
        )
    with damage_named(path), h5py.File(path, "r") as file:
        variable = _matlab_text(file["modelVariable"]) if "modelVariable" in file else "mibModel"
        if variable not in file:
            raise FibsegError(f"{path}: no model of MIB: it holds no {variable}.")
        data = file[variable]
        shape, dtype = data.shape, np.dtype(data.dtype)
        names = _mib_names(file)
        size = _mib_voxels(file, shape)
    if len(shape) not in (2, 3) or dtype.kind not in "ui":
        raise FibsegError(
            f"{path}: a model of shape {shape} and type {dtype}; expected labels of three axes."
        )
    depth, width, height = shape if len(shape) == 3 else (1, *shape)

    def read(z: int) -> Pixels:
        with damage_named(path, z), h5py.File(path, "r") as file:
            return np.ascontiguousarray(
                np.asarray(file[variable][z] if len(shape) == 3 else file[variable]).T
            )

    stack = Stack(str(path), (depth, height, width), dtype, read, size)
    return LabelSource("MIB", stack, {name: value for value, name in enumerate(names, 1)})


def _matlab_text(data: Any) -> str:
    """MATLAB keeps text as numbers of its letters."""
    return "".join(chr(int(letter)) for letter in np.ravel(data[()]))


def _mib_names(file: Any) -> list[str]:
    """Materials in order; a cell array holds references to the texts."""
    if "modelMaterialNames" not in file:
        return []
    names = [
        _matlab_text(file[reference]).strip()
        for reference in np.ravel(file["modelMaterialNames"][()])
    ]
    return [  # two of one name, or none, stay two
        name if name and names.count(name) == 1 else f"{name or 'material'}_{number}"
        for number, name in enumerate(names, 1)
    ]


def _mib_voxels(file: Any, shape: tuple[int, ...]) -> tuple[float, float, float] | None:
    """From the bounding box (x, y, z from and to, in micrometres), which spans the centres of the outer voxels."""
    if "BoundingBox" not in file or len(shape) != 3 or min(shape) < 2:
        return None
    box = np.ravel(file["BoundingBox"][()]).astype(float)
    if box.size != 6:
        return None
    depth, width, height = shape
    sizes = [
        (box[k + 1] - box[k]) / max(1, count - 1)
        for k, count in ((4, depth), (2, height), (0, width))
    ]
    return voxel_size_in_nm(sizes, ["um"] * 3)


def import_labels(
    stack: Stack,
    table: dict[str, list[int]],
    background: Sequence[int],
    unlabelled: Sequence[int],
    empty_unlabelled: bool,
    output: Path,
) -> Imported:
    """Write class numbers, slice by slice: classes 1, 2, ... in the table's order, 0 background, 255 nobody looked.

    Args:
        stack: label values.
        table: class -> its values.
        background: values that somebody looked at and that are no class.
        unlabelled: values that nobody looked at; 0 is background unless it stands here.
        empty_unlabelled: whether a slice of nothing but 0 was not looked at.
        output: TIFF or Zarr.

    Raises:
        FibsegError: a value is claimed twice or by nobody.
    """
    claims = [(value, 0) for value in background] + [(value, IGNORE) for value in unlabelled]
    claims += [
        (value, number) for number, values in enumerate(table.values(), 1) for value in values
    ]
    meaning: dict[int, int] = {}
    for value, number in claims:
        if value in meaning:
            raise FibsegError(f"value {value} is claimed twice; every value means one thing.")
        meaning[value] = number
    meaning.setdefault(0, 0)
    counts, annotated = np.zeros(256, np.int64), 0
    size = list(stack.voxel_size) if stack.voxel_size else None
    with StackWriter(output, StackHeader(stack.shape, "uint8", size)) as writer:
        for z in range(stack.shape[0]):
            labels = stack.read(z)
            found, inverse = np.unique(labels, return_inverse=True)
            nobody = [int(value) for value in found if int(value) not in meaning]
            if nobody:
                known = ", ".join(map(str, sorted(meaning)))
                raise FibsegError(
                    f"{stack.name}, slice {z}: value {nobody[0]} belongs to no class (known: {known}); "
                    f"give --class NAME={nobody[0]}, --background or --unlabelled."
                )
            numbers = np.array([meaning[int(value)] for value in found], np.uint8)[inverse].reshape(
                labels.shape
            )
            if empty_unlabelled and not (labels != 0).any():
                numbers[:] = IGNORE
            annotated += bool((numbers != IGNORE).any())
            counts += np.bincount(numbers.ravel(), minlength=256)
            writer.write(numbers)
    looked_at = max(1, int(counts[:IGNORE].sum()))
    return Imported(annotated, (counts / looked_at).tolist(), float(counts[IGNORE] / counts.sum()))
