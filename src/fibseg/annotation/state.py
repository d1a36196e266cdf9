"""What project.yaml of an annotation project holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from fibseg.arrays import IGNORE
from fibseg.data.description import SPLITS
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.rules import CLASS_NAME, NAME, Check, require

STATE_FILE = "project.yaml"
"""File of a project's folder that holds its state."""

_VERSION = 1


@dataclass(frozen=True)
class ProjectState:
    """An annotation project, but for its pixels.

    Attributes:
        name: of the project, and of its data set.
        image: absolute path or URL of the stack, which is never copied.
        identity: of the pixels of the image.
        shape: (z, y, x) of the image.
        voxel_size: (z, y, x) in nm.
        classes: names in the order of their indices, from 1 on.
        splits: slices by split, as far as rounds have used them.
        model: run directory or model file of a person's own to start from; None for none.
    """

    name: str
    image: str
    identity: str
    shape: list[int]
    voxel_size: list[float]
    classes: list[str]
    splits: dict[str, list[int]]
    model: str | None = None

    def write(self, path: Path) -> None:
        """Write the state whole.

        Raises:
            DiskFullError: there is no room.
        """
        content = {"version": _VERSION, **asdict(self)}
        write_whole(path, yaml.safe_dump(content, sort_keys=False, width=100))


def read_state(path: Path) -> ProjectState:
    """Read project.yaml.

    Raises:
        FibsegError: it is damaged, or of a later version.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        version = content.pop("version")
        known = {field.name for field in fields(ProjectState)}
        state = ProjectState(**{key: value for key, value in content.items() if key in known})
        _check(state)
    except FileNotFoundError:
        raise FibsegError(f"{path.parent}: no annotation project.") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError, ValueError):
        raise FibsegError(f"{path}: damaged; put it back from a copy of the project.") from None
    if version != _VERSION:
        raise FibsegError(f"{path}: version {version}; this fibseg reads {_VERSION}.")
    return state


def _check(state: ProjectState) -> None:
    """Raise an error where a value is of another kind than a project's."""
    require(Check("name", state.name, NAME))
    require(*(Check("classes", name, CLASS_NAME) for name in state.classes))
    numbers = [*state.shape, *(z for entries in state.splits.values() for z in entries)]
    sizes = [float(size) for size in state.voxel_size]
    whole = all(type(number) is int for number in numbers)
    possible = len(sizes) == 3 and all(0 < size < float("inf") for size in sizes)
    if not (whole and possible and len(state.shape) == 3 and {*state.splits} <= {*SPLITS}):
        raise ValueError(state)


def checked_classes(names: Sequence[str]) -> list[str]:
    """Check the names of a project's classes.

    Raises:
        FibsegError: a name is none, stands there twice, or there are too many.
    """
    require(*(Check("--class", name, CLASS_NAME) for name in names))
    repeated = [name for k, name in enumerate(names) if name in names[:k] or name == "background"]
    if repeated:
        raise FibsegError(f"--class {repeated[0]}: the project has a class of this name already.")
    # Proposals are class indices plus one, in a byte.
    if not 1 <= len(names) < IGNORE - 1:
        raise FibsegError(f"--class: {len(names)} classes; expected 1 to {IGNORE - 2}.")
    return list(names)
