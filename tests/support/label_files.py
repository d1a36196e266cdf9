"""Labels in the files of ilastik and of Microscopy Image Browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]


def write_ilastik(path: Path, labels: Labels, axes: str = "zyxc") -> str:
    """Write labels as ilastik exports them, with axis tags and a channel; gives the path.

    `labels` are (z, y, x); in the file they have the order of `axes`.
    """
    place = {"z": 0, "y": 1, "x": 2, "c": 3}
    with h5py.File(path, "w") as file:
        data = labels[..., None].transpose([place[axis] for axis in axes])
        dataset = file.create_dataset("exported_data", data=data, chunks=True, compression="gzip")
        dataset.attrs["axistags"] = json.dumps(
            {"axes": [{"key": axis, "typeFlags": 2} for axis in axes]}
        )
    return str(path)


def write_mib(
    path: Path,
    labels: Labels,
    names: list[str],
    box: list[float] | None,
    variable: str = "mibModel",
) -> str:
    """Write labels (z, y, x) as Microscopy Image Browser saves a model; gives the path.

    MATLAB 7.3 keeps (y, x, z) as (z, x, y) in HDF5, texts as numbers and a cell as references to
    texts.
    """
    with h5py.File(path, "w") as file:
        file[variable] = labels.transpose(0, 2, 1)
        file["modelVariable"] = np.array([[ord(letter)] for letter in variable], np.uint16)
        references = []
        for k, name in enumerate(names):
            file[f"#refs#/{k}"] = np.array([[ord(letter)] for letter in name], np.uint16)
            references.append(file[f"#refs#/{k}"].ref)
        cell = file.create_dataset("modelMaterialNames", (1, len(names)), h5py.ref_dtype)
        for k, reference in enumerate(references):
            cell[0, k] = reference
        if box is not None:
            file["BoundingBox"] = np.array(box)[:, None]
    return str(path)
