"""Label files as programs and people leave them: their program, and values as whole numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.scores.label_values import noted_names
from fibseg.stack import (
    Stack,
    VoxelSize,
    damage_named,
    open_colours,
    open_stack,
    read_notes,
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
        background: values of annotated pixels of no class, where the file has such.
        coloured: whether the values are colours, red * 65536 + green * 256 + blue.
    """

    program: str
    stack: Stack
    names: dict[str, int] = field(default_factory=dict)
    unlabelled: list[int] = field(default_factory=list)
    empty_slices: str = "unlabelled"
    background: list[int] = field(default_factory=list)
    coloured: bool = False


def open_label_stack(path: str | Path) -> Stack:
    """Open a stack of label values; whole numbers that a file keeps as floats become integers.

    Raises:
        FibsegError: the file cannot be read. A slice with a fraction raises it when it is read.
    """
    return whole_numbers_of(open_stack(path))


def whole_numbers_of(stack: Stack) -> Stack:
    """Read label values as integers: NIfTI, MRC and many programs keep them as floats."""
    if stack.dtype.kind != "f":
        return stack

    def read(z: int) -> Pixels:
        values = stack.read(z)
        # NaN and infinity differ from their rounded values as well, or leave the integers.
        fractions = ~np.isfinite(values) | (values != np.rint(values)) | (abs(values) > 2.0**53)
        if fractions.any():
            raise FibsegError(
                f"{stack.name}, slice {z}: value {values[fractions][0]:g} of type {stack.dtype}; "
                "labels are whole numbers (are these grey values or probabilities?)."
            )
        return values.astype(np.int64)

    return replace(stack, dtype=np.dtype(np.int64), read=read)


def label_notes(path: str | Path) -> Mapping[str, Any]:
    """Read the notes of a label file that fibseg wrote, also of a level of an OME-Zarr."""
    notes = read_notes(Path(path))
    # A level of an OME-Zarr may be named; the notes are those of the whole store.
    if not notes and Path(path).parent.suffix.lower() == ".zarr":
        notes = read_notes(Path(path).parent)
    return notes or {}


def name_doubts(path: str | Path, names: Mapping[int, str]) -> list[str]:
    """Doubt class names of label values that are not those in the notes of the label file."""
    noted = noted_names(label_notes(path)) or {}
    return [
        f"{path}: value {value} is {noted[value]} by the notes of the file, but is called {name}."
        for value, name in names.items()
        if noted.get(value, name) != name
    ]


def is_prediction(path: str | Path) -> bool:
    """Whether predict.py wrote these labels, as far as their notes say so.

    A copy that another program saved has no notes any more, and nothing tells it from labels that a
    person painted.
    """
    return "identity" in label_notes(path)


def open_labels(path: str) -> LabelSource:
    """Open labels and detect their program: ilastik, MIB, else napari or a plain stack.

    ilastik writes HDF5 with axis tags, MIB files that end in .model.

    Raises:
        FibsegError: the file cannot be read, or holds no labels.
    """
    # open_stack knows no .model, though it is HDF5 inside.
    if Path(path).suffix.lower() == ".model":
        return _open_mib(Path(path))
    stack = open_label_stack(path)
    # ilastik writes 0 where nothing is painted; background is a label of its own there.
    if _is_ilastik(path):
        # Background is a label of its own in ilastik; 0 is what nobody has painted.
        return LabelSource("ilastik", stack, unlabelled=[0])
    # After an import of fibseg, 255 marks what is unannotated: a slice of 0 is background.
    imported = "classes" in label_notes(path)
    empty_slices = "background" if imported else "unlabelled"
    return LabelSource(UNKNOWN_PROGRAM, stack, empty_slices=empty_slices)


def open_coloured_labels(path: str) -> LabelSource:
    """Open label pictures in colours, with the names of a labelmap.txt of CVAT beside them.

    Raises:
        FibsegError: a file cannot be read.
    """
    names = read_label_map(path)
    background = [value for name, value in names.items() if name == "background" and value]
    classes = {name: value for name, value in names.items() if name != "background"}
    return LabelSource(
        program="pictures in colours",
        stack=open_colours(path),
        names=classes,
        background=background,
        coloured=True,
    )


def read_label_map(path: str) -> dict[str, int]:
    """Read class -> colour from the labelmap.txt of CVAT in a folder of pictures or beside it.

    Empty where there is no such file. A line is `name:red,green,blue:parts:actions`, and comments
    begin with #.

    Raises:
        FibsegError: a line of the file has another form.
    """
    folder = Path(path)
    places = [place / "labelmap.txt" for place in (folder, *folder.parents[:2])]
    label_map = next((place for place in places if place.is_file()), None)
    if label_map is None:
        return {}
    colours = {}
    for line in label_map.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*([^:]+):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?", line)
        numbers = [int(match[k]) for k in (2, 3, 4)] if match else [256]
        if match is None or max(numbers) > 255:
            raise FibsegError(
                f"{label_map}: {line.strip()!r}; expected lines such as er:51,221,255::."
            )
        red, green, blue = numbers
        colours[match[1].strip()] = red << 16 | green << 8 | blue
    return colours


def colour_text(colour: int) -> str:
    """Write a colour as the command line has it.

    >>> colour_text(0xFA3253)
    '#fa3253'
    """
    return f"#{colour:06x}"


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
