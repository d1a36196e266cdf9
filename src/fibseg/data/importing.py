"""Labels that people painted in other programs, as a TIFF of class numbers.

Each program marks unannotated pixels in its own way: ilastik by 0, while in napari and MIB an
untouched slice is all 0, as background is. Here they become 255, so that they are neither trained
on nor scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import IGNORE, Pixels, UInt8
from fibseg.errors import FibsegError
from fibseg.stack import (
    Stack,
    StackHeader,
    StackWriter,
    VoxelSize,
    damage_named,
    open_stack,
    split_dataset,
    voxel_size_in_nm,
)

UNKNOWN_PROGRAM = "napari or a plain stack"
"""The program of labels whose file does not name it."""


@dataclass(frozen=True)
class LabelSource:
    """Labels as another program left them.

    Attributes:
        program: that wrote them, as far as the file shows.
        stack: label values.
        names: class -> value, where the file has names.
        unlabelled: values of unannotated pixels.
        empty_slices: what a slice of nothing but 0 means: "unlabelled" or "background".
    """

    program: str
    stack: Stack
    names: dict[str, int] = field(default_factory=dict)
    unlabelled: list[int] = field(default_factory=list)
    empty_slices: str = "unlabelled"


@dataclass(frozen=True)
class LabelMeaning:
    """What the values of another program's labels mean.

    Attributes:
        classes: class -> its values.
        background: values that are annotated and none of the classes.
        unlabelled: values of unannotated pixels; 0 is background unless it is among them.
        empty_is_unlabelled: whether a slice of nothing but 0 is unannotated.
    """

    classes: Mapping[str, Sequence[int]]
    background: Sequence[int]
    unlabelled: Sequence[int]
    empty_is_unlabelled: bool

    def numbers(self) -> dict[int, int]:
        """Label value -> class number.

        The classes are 1, 2, ... in their order, background is 0, and unannotated pixels are 255.

        Raises:
            FibsegError: a value is claimed twice.
        """
        # Collected first: a value is claimed twice whichever two meanings claim it.
        claims = [(value, 0) for value in self.background]
        claims += [(value, IGNORE) for value in self.unlabelled]
        for number, values in enumerate(self.classes.values(), 1):
            claims += [(value, number) for value in values]
        numbers: dict[int, int] = {}
        for value, number in claims:
            if value in numbers:
                raise FibsegError(f"value {value} is claimed twice; every value means one thing.")
            numbers[value] = number
        # Most programs write 0 where nothing is painted, so users rarely name it.
        numbers.setdefault(0, 0)
        return numbers


@dataclass(frozen=True)
class ImportedLabels:
    """Counts over the labels that were written.

    Attributes:
        annotated: slices with any annotation.
        shares: of each class number among the annotated pixels.
        ignored: share of unannotated pixels.
    """

    annotated: int
    shares: list[float]
    ignored: float


def open_labels(path: str) -> LabelSource:
    """Open labels and detect their program: ilastik, MIB, else napari or a plain stack.

    ilastik writes HDF5 with axis tags, MIB files that end in .model.

    Raises:
        FibsegError: the file cannot be read, or holds no labels.
    """
    # open_stack knows no .model, though it is HDF5 inside.
    if Path(path).suffix.lower() == ".model":
        return _open_mib(Path(path))
    stack = open_stack(path)
    if stack.dtype.kind not in "uib":
        raise FibsegError(f"{stack.name}: values of type {stack.dtype}; labels are integers.")
    # ilastik writes 0 where nothing is painted; background is a label of its own there.
    if _is_ilastik(path):
        # Background is a label of its own in ilastik; 0 is what nobody has painted.
        return LabelSource("ilastik", stack, unlabelled=[0])
    return LabelSource(UNKNOWN_PROGRAM, stack)


def _is_ilastik(path: str) -> bool:
    """Whether an HDF5 data set has axis tags, as ilastik writes them."""
    import h5py

    file, dataset = split_dataset(path)
    if not Path(file).is_file() or not h5py.is_hdf5(file):
        return False
    with damage_named(path), h5py.File(file, "r") as content:
        if dataset:
            return "axistags" in content[dataset].attrs

        def has_axis_tags(_: str, item: Any) -> bool | None:
            # h5py goes on to the next item only after None.
            return (isinstance(item, h5py.Dataset) and "axistags" in item.attrs) or None

        return bool(content.visititems(has_axis_tags))


def _open_mib(path: Path) -> LabelSource:
    """Open a model of Microscopy Image Browser.

    It is a MATLAB 7.3 file, which is HDF5. MATLAB stores columns first, so the axes are z, x, y for
    Python.
    """
    import h5py

    if not path.is_file():
        raise FibsegError(f"{path}: no such file.")
    # Before Matlab 7.3 the files had a format of their own, which h5py cannot read.
    if not h5py.is_hdf5(path):
        raise FibsegError(
            f"{path}: an older .model of MIB; save it there as Matlab 7.3, or as TIFF."
        )
    with damage_named(path), h5py.File(path, "r") as file:
        # The variable that holds the labels is not called the same in every model.
        variable = _matlab_text(file["modelVariable"]) if "modelVariable" in file else "mibModel"
        if variable not in file:
            raise FibsegError(f"{path}: no model of MIB: it holds no {variable}.")
        shape = file[variable].shape
        dtype = np.dtype(file[variable].dtype)
        names = _mib_names(file)
        voxel_size = _mib_voxel_size(file, shape)
    if len(shape) not in (2, 3) or dtype.kind not in "ui":
        raise FibsegError(
            f"{path}: a model of shape {shape} and type {dtype}; expected labels of three axes."
        )
    depth, width, height = shape if len(shape) == 3 else (1, *shape)

    def read(z: int) -> Pixels:
        with damage_named(path, z), h5py.File(path, "r") as file:
            page = file[variable][z] if len(shape) == 3 else file[variable]
            return np.ascontiguousarray(np.asarray(page).T)

    stack = Stack(
        name=str(path),
        shape=(depth, height, width),
        dtype=dtype,
        read=read,
        voxel_size=voxel_size,
    )
    return LabelSource("MIB", stack, {name: value for value, name in enumerate(names, 1)})


def _matlab_text(data: Any) -> str:
    """Read the text of a MATLAB variable, which is stored as the numbers of its letters."""
    return "".join(chr(int(letter)) for letter in np.ravel(data[()]))


def _mib_names(file: Any) -> list[str]:
    """Read the names of the materials in order; MATLAB's cell array refers to the texts."""
    if "modelMaterialNames" not in file:
        return []
    names = [
        _matlab_text(file[reference]).strip()
        for reference in np.ravel(file["modelMaterialNames"][()])
    ]
    # Materials that share a name, or have none, are numbered: they are different classes.
    return [
        name if name and names.count(name) == 1 else f"{name or 'material'}_{number}"
        for number, name in enumerate(names, 1)
    ]


def _mib_voxel_size(file: Any, shape: tuple[int, ...]) -> VoxelSize | None:
    """Compute the voxel size in nm from the bounding box.

    The box gives x, y, z from and to, in micrometres, between the centres of the outer voxels: one
    voxel less than there are along an axis.
    """
    # Along an axis of one voxel there is no distance between centres.
    if "BoundingBox" not in file or len(shape) != 3 or min(shape) < 2:
        return None
    box = np.ravel(file["BoundingBox"][()]).astype(float)
    if box.size != 6:
        return None
    x_from, x_to, y_from, y_to, z_from, z_to = box
    depth, width, height = shape
    # In Python's order: z, y, x.
    sizes = [
        (z_to - z_from) / (depth - 1),
        (y_to - y_from) / (height - 1),
        (x_to - x_from) / (width - 1),
    ]
    return voxel_size_in_nm(sizes, ["um"] * 3)


def import_labels(stack: Stack, meaning: LabelMeaning, output: Path) -> ImportedLabels:
    """Write class numbers, slice by slice, as TIFF or Zarr.

    Raises:
        FibsegError: a value is claimed twice or by nothing.
    """
    numbers = meaning.numbers()
    # Class numbers are uint8, so 256 counters hold them all.
    counts = np.zeros(256, np.int64)
    annotated = 0
    with StackWriter(output, StackHeader(stack.shape, "uint8", stack.voxel_size)) as writer:
        for z in range(stack.shape[0]):
            labels = stack.read(z)
            classes = _class_numbers(labels, numbers, f"{stack.name}, slice {z}")
            # In napari and MIB only whole slices tell unpainted pixels from background.
            if meaning.empty_is_unlabelled and not (labels != 0).any():
                classes[:] = IGNORE
            annotated += bool((classes != IGNORE).any())
            counts += np.bincount(classes.ravel(), minlength=256)
            writer.write(classes)
    # At least 1, for labels without any annotation.
    annotated_pixels = max(1, int(counts[:IGNORE].sum()))
    return ImportedLabels(
        annotated=annotated,
        shares=(counts / annotated_pixels).tolist(),
        ignored=float(counts[IGNORE] / counts.sum()),
    )


def _class_numbers(labels: Pixels, numbers: Mapping[int, int], where: str) -> UInt8:
    """Number the classes (H, W) of label values; FibsegError on a value without a number."""
    # Values may be large, so the table is indexed by their rank and not by themselves.
    values, inverse = np.unique(labels, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in numbers]
    if unknown:
        known = ", ".join(map(str, sorted(numbers)))
        raise FibsegError(
            f"{where}: value {unknown[0]} belongs to no class (known: {known}); "
            f"give --class NAME={unknown[0]}, --background or --unlabelled."
        )
    table = np.array([numbers[int(value)] for value in values], np.uint8)
    return table[inverse].reshape(labels.shape)
