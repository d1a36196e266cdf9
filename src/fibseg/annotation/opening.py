"""Annotation projects are made, and opened by one window or command at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.state import STATE_FILE, ProjectState, checked_classes, read_state
from fibseg.data.identity import pixels_identity
from fibseg.errors import FibsegError
from fibseg.files import writing
from fibseg.rules import NAME, Check, require
from fibseg.stack import Stack, open_stack


def create_project(
    folder: Path,
    name: str,
    image: str,
    classes: Sequence[str],
    voxel_size: Sequence[float] | None = None,
) -> None:
    """Make the folder of a project.

    Args:
        folder: to make.
        name: of the project.
        image: path or URL of the stack.
        classes: names of the classes.
        voxel_size: (z, y, x) in nm; without it, that of the image.

    Raises:
        FibsegError: there is a project already, the image cannot be read or has no voxel size, or a
            name is impossible.
    """
    require(Check("NAME", name, NAME))
    names = checked_classes(classes)
    if (folder / STATE_FILE).exists():
        raise FibsegError(f"{folder}: there is a project already.")
    stack = open_stack(image)
    size = voxel_size or stack.voxel_size
    if size is None:
        raise FibsegError(
            f"{image}: the file has no voxel size; give it (--voxel-size) as z,y,x in nm."
        )
    if len(size) != 3 or not all(0 < side < float("inf") for side in size):
        raise FibsegError(f"voxel size {list(size)}: expected three sizes above 0, z,y,x in nm.")
    state = ProjectState(
        name=name,
        image=_absolute(image),
        identity=pixels_identity(stack) or "",
        shape=list(stack.shape),
        voxel_size=[float(side) for side in size],
        classes=names,
        splits={},
    )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    state.write(folder / STATE_FILE)


@contextmanager
def opened_project(folder: Path, image: str | None = None) -> Iterator[AnnotationProject]:
    """Open a project for the block, and keep others out.

    Args:
        folder: of the project.
        image: where the image lies now, if it has moved.

    Raises:
        FibsegError: no project, open elsewhere, or its image is gone or another one.
    """
    state = read_state(folder / STATE_FILE)
    if image is not None:
        state = replace(state, image=_absolute(image))
    with _locked(folder):
        stack = _open_image(state)
        project = AnnotationProject(folder, state, stack)
        if image is not None:
            project.update(image=state.image)
        yield project


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with writing(folder):
            lock.acquire()
    except Timeout:
        raise FibsegError(
            f"{folder}: open in another window or command; close it there first."
        ) from None
    except PermissionError:
        raise FibsegError(f"{folder}: cannot be written; a project needs its folder.") from None
    try:
        yield
    finally:
        lock.release()


def _open_image(state: ProjectState) -> Stack:
    """Open the image, and make sure that it is the project's."""
    moved = "if the image has moved, say where it lies now: fibseg annotate NAME IMAGE"
    try:
        stack = open_stack(state.image)
    except FibsegError as error:
        raise FibsegError(f"{error} The project needs its image; {moved}.") from error
    if list(stack.shape) != state.shape:
        raise FibsegError(
            f"{state.image}: is of shape {stack.shape}, but the image of {state.name} was of "
            f"{tuple(state.shape)}; {moved}."
        )
    if (pixels_identity(stack) or "") != state.identity:
        raise FibsegError(
            f"{state.image}: holds other pixels than when {state.name} was made; {moved}."
        )
    return stack


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
