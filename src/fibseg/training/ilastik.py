"""Ilastik's own pixel classification on the slices of a run, for users who have Ilastik.

Berg et al., Nature Methods 2019, doi:10.1038/s41592-019-0582-9. Ilastik runs without a window
("headless"), with a project that the user trained. The random forest of `model=forest` is in
`fibseg.training.forest`.
"""

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

from fibseg.arrays import UInt8
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError

PROGRAMS = ("run_ilastik.sh", "ilastik", "ilastik.exe", "run-ilastik.bat")
"""Names of the program that starts Ilastik, on Linux, macOS and Windows."""


@dataclass(frozen=True)
class IlastikProject:
    """A project of pixel classification.

    Attributes:
        path: the .ilp file.
        program: the program that starts Ilastik.
        classes: class index of each label of the project, in the project's order.
    """

    path: Path
    program: Path
    classes: tuple[int, ...]

    def identity(self) -> str:
        """Identify the content of the project by the `file_digest` of its file."""
        return file_digest(self.path)

    def lacking(self, class_names: Sequence[str]) -> list[str]:
        """List the classes that no label of the project stands for."""
        return [name for index, name in enumerate(class_names) if index not in self.classes]


def file_digest(path: Path) -> str:
    """Compute 8 hexadecimal digits that identify the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def find_program(executable: str | None) -> Path:
    """Find the program that starts Ilastik: `executable`, or one of PROGRAMS on the PATH.

    Raises:
        FibsegError: there is no such program.
    """
    names = [executable] if executable else PROGRAMS
    program = next((path for path in map(shutil.which, names) if path is not None), None)
    if program is None:
        problem = (
            f"model.executable: {executable} cannot be run"
            if executable
            else "Ilastik is not on the PATH"
        )
        raise FibsegError(
            f"{problem}; get it from https://www.ilastik.org/download "
            "and give model.executable=FOLDER/run_ilastik.sh."
        )
    return Path(program).resolve()


def open_project(
    path: Path, program: Path, labels: Sequence[str] | None, class_names: Sequence[str]
) -> IlastikProject:
    """Read which labels a project has, and assign each to a class.

    Args:
        path: the .ilp file.
        program: the program that starts Ilastik.
        labels: class name of each label, in the project's order; None where the project's labels
            have the names of the classes. Case does not matter.
        class_names: classes of the data, background first.

    Raises:
        FibsegError: the file is no project of pixel classification, or a label is no class.
    """
    try:
        with h5py.File(path) as file:
            workflow = bytes(file["workflowName"][()]).decode()
            # HDF5 holds these texts as bytes.
            names_in_project = [
                bytes(name).decode() for name in file["PixelClassification/LabelNames"][()]
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FibsegError(
            f"{path}: no project of Ilastik's pixel classification ({error})."
        ) from error
    if workflow != "Pixel Classification":
        raise FibsegError(f"{path}: a project of {workflow}; expected Pixel Classification.")
    names = names_in_project if labels is None else list(labels)
    if len(names) != len(names_in_project):
        raise FibsegError(
            f"model.labels: {len(names)} names for the {len(names_in_project)} labels "
            f"of the project ({names_in_project}); give one for each."
        )
    index_of_class = {name.lower(): index for index, name in enumerate(class_names)}
    unknown = [name for name in names if name.lower() not in index_of_class]
    if unknown:
        raise FibsegError(
            f"model.labels: '{unknown[0]}' is none of {', '.join(class_names)}; give the class "
            f"of each label, in the project's order ({', '.join(names_in_project)})."
        )
    return IlastikProject(path, program, tuple(index_of_class[name.lower()] for name in names))


def label_by_ilastik(
    project: IlastikProject, log: Path, threads: int
) -> Callable[[str, Sequence[AnnotatedSlice]], tuple[list[UInt8], None]]:
    """Make a function that labels slices by Ilastik, as they are in their files, without objects.

    A pixel becomes the class of the label with the largest probability.

    Args:
        project: the trained project.
        log: file that takes what Ilastik prints.
        threads: number of threads that Ilastik may use.
    """

    def label(split: str, slices: Sequence[AnnotatedSlice]) -> tuple[list[UInt8], None]:
        if not slices:
            return [], None
        # Ilastik reads and writes files only.
        with tempfile.TemporaryDirectory(prefix="fibseg-") as name:
            folder = Path(name)
            inputs = [folder / f"{split}-{k:04d}.tif" for k in range(len(slices))]
            for annotated, path in zip(slices, inputs, strict=True):
                tifffile.imwrite(path, annotated.image, photometric="minisblack")
            _run_ilastik(project, inputs, folder=folder, log=log, threads=threads)
            # Several labels of a project may stand for one class.
            class_of_label = np.array(project.classes, np.uint8)
            labels = []
            for annotated, path in zip(slices, inputs, strict=True):
                probabilities = _read_probabilities(path, project, annotated.labels.shape)
                labels.append(class_of_label[probabilities.argmax(-1)])
            return labels, None

    return label


def _run_ilastik(
    project: IlastikProject, inputs: Sequence[Path], folder: Path, log: Path, threads: int
) -> None:
    """Let Ilastik write probabilities of the inputs to `folder`, as files of the same stems."""
    # The options are those of https://www.ilastik.org/documentation/basics/headless.
    command = [
        str(project.program),
        "--headless",
        f"--project={project.path.resolve()}",
        "--export_source=Probabilities",
        "--output_format=hdf5",
        "--output_internal_path=exported_data",
        "--output_axis_order=yxc",
        # The project is the user's and must stay as it is.
        "--readonly=true",
        f"--output_filename_format={folder}/{{nickname}}.h5",
        *map(str, inputs),
    ]
    # Ilastik takes the number of its threads from the environment alone.
    environment = {**os.environ, "LAZYFLOW_THREADS": str(threads)}
    try:
        with log.open("ab") as file:
            # No `check`: an exit code is reported below, with the last line that Ilastik printed.
            result = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, check=False, env=environment
            )
    except OSError as error:
        raise FibsegError(f"{project.program}: cannot be run ({error}).") from error
    if result.returncode:
        lines = log.read_text(errors="replace").split("\n")
        # The last line is mostly the reason.
        printed = (line.strip() for line in reversed(lines) if line.strip())
        last_line = next(printed, "it printed nothing")
        raise FibsegError(
            f"Ilastik ended with exit code {result.returncode}: {last_line[:200]} "
            f"(its whole output is in {log})."
        )


def _read_probabilities(
    path: Path, project: IlastikProject, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Read the probabilities (H, W, labels of the project) that Ilastik wrote for an input."""
    try:
        with h5py.File(path.with_suffix(".h5")) as file:
            probabilities = np.asarray(file["exported_data"][()])
    except (OSError, KeyError) as error:
        raise FibsegError(f"Ilastik wrote no probabilities for {path.name} ({error}).") from error
    expected = (*shape, len(project.classes))
    # A project may have been changed since its labels were read.
    if probabilities.shape != expected:
        raise FibsegError(
            f"Ilastik's probabilities are of shape {probabilities.shape}; expected {expected}."
        )
    return probabilities
