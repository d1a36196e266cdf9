"""Ilastik's own pixel classification (Berg et al., 2019) on the slices of a run, where a user has it: headless."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError

UInt8 = NDArray[np.uint8]

PROGRAMS = ("run_ilastik.sh", "ilastik", "ilastik.exe", "run-ilastik.bat")
"""Names that Ilastik's starter has on Linux, macOS and Windows."""


@dataclass(frozen=True)
class IlastikProject:
    """A project of pixel classification.

    Attributes:
        path: of the .ilp file.
        program: what starts Ilastik.
        classes: (labels of the project,) which class index each of its labels is.
    """

    path: Path
    program: Path
    classes: tuple[int, ...]

    def identity(self) -> str:
        """`file_digest` the project."""
        return file_digest(self.path)

    def lacking(self, class_names: Sequence[str]) -> list[str]:
        """Classes that none of its labels is."""
        return [name for index, name in enumerate(class_names) if index not in self.classes]


def file_digest(path: Path) -> str:
    """8 hexadecimal digits of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def find_program(given: str | None) -> Path:
    """What starts Ilastik: the given file, or one of PROGRAMS on the PATH; FibsegError where there is none."""
    found = shutil.which(given) if given else next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        where = (
            f"model.executable: {given} cannot be run" if given else "Ilastik is not on the PATH"
        )
        raise FibsegError(
            f"{where}; get it from https://www.ilastik.org/download and give model.executable=FOLDER/run_ilastik.sh."
        )
    return Path(found).resolve()


def open_project(
    path: Path, program: Path, given: Sequence[str] | None, class_names: Sequence[str]
) -> IlastikProject:
    """Read which labels a project has.

    Args:
        path: of the .ilp file.
        program: what starts Ilastik.
        given: class of each of its labels, in its order; None: its labels are called as the classes are.
        class_names: of the data, background first.

    Raises:
        FibsegError: no project of pixel classification, or a label that is no class.
    """
    try:
        with h5py.File(path) as file:
            workflow = bytes(file["workflowName"][()]).decode()
            own = [bytes(name).decode() for name in file["PixelClassification/LabelNames"][()]]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FibsegError(
            f"{path}: no project of Ilastik's pixel classification ({error})."
        ) from error
    if workflow != "Pixel Classification":
        raise FibsegError(f"{path}: a project of {workflow}; expected Pixel Classification.")
    names = own if given is None else list(given)
    if len(names) != len(own):
        raise FibsegError(
            f"model.labels: {len(names)} names for the {len(own)} labels of the project ({own})."
        )
    known = {name.lower(): index for index, name in enumerate(class_names)}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise FibsegError(
            f"model.labels: '{unknown[0]}' is none of {', '.join(class_names)}; give the class of each label, in the "
            f"project's order ({', '.join(own)})."
        )
    return IlastikProject(path, program, tuple(known[name.lower()] for name in names))


def label_by_ilastik(
    project: IlastikProject, log: Path, threads: int
) -> Callable[[str, Sequence[AnnotatedSlice]], list[UInt8]]:
    """Labels of slices as they are in their files: of the label of the project with the largest probability.

    Args:
        project: what was trained.
        log: takes what Ilastik prints.
        threads: that it may use.
    """

    def label(split: str, slices: Sequence[AnnotatedSlice]) -> list[UInt8]:
        with tempfile.TemporaryDirectory(prefix="fibseg-") as name:
            folder = Path(name)
            inputs = [folder / f"{split}-{k:04d}.tif" for k in range(len(slices))]
            for one, path in zip(slices, inputs, strict=True):
                tifffile.imwrite(path, one.image, photometric="minisblack")
            if inputs:
                _run(project, inputs, folder, log, threads)
            classes = np.array(project.classes, np.uint8)
            return [
                classes[_probabilities(path, project, one.labels.shape).argmax(-1)]
                for one, path in zip(slices, inputs, strict=True)
            ]

    return label


def _run(
    project: IlastikProject, inputs: Sequence[Path], folder: Path, log: Path, threads: int
) -> None:
    command = [
        str(project.program),
        "--headless",
        f"--project={project.path.resolve()}",
        "--export_source=Probabilities",
        "--output_format=hdf5",
        "--output_internal_path=exported_data",
        "--output_axis_order=yxc",
        "--readonly=true",
        f"--output_filename_format={folder}/{{nickname}}.h5",
        *map(str, inputs),
    ]
    try:
        with log.open("ab") as file:
            environment = {**os.environ, "LAZYFLOW_THREADS": str(threads)}
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, check=False, env=environment
            )
    except OSError as error:
        raise FibsegError(f"{project.program}: cannot be run ({error}).") from error
    if done.returncode:
        lines = log.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise FibsegError(
            f"Ilastik ended with exit code {done.returncode}: {last[:200]} (all of it in {log})."
        )


def _probabilities(
    path: Path, project: IlastikProject, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """(H, W, labels) that Ilastik wrote for an input."""
    result = path.with_suffix(".h5")
    try:
        with h5py.File(result) as file:
            found = np.asarray(file["exported_data"][()])
    except (OSError, KeyError) as error:
        raise FibsegError(f"Ilastik wrote no probabilities for {path.name} ({error}).") from error
    if found.shape != (*shape, len(project.classes)):
        raise FibsegError(
            f"Ilastik's probabilities are of shape {found.shape}; expected {(*shape, len(project.classes))}."
        )
    return found
