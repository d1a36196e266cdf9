"""Data descriptions of users: plain YAML, read with limits, and never computed.

A description comes from a colleague or a download, so that it is data: it names files, and neither
environment variables nor parts of Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from fibseg.config.command_line import typed_texts, with_home
from fibseg.config.messages import sentence
from fibseg.data.description import DataDescription
from fibseg.errors import FibsegError

_LARGEST_FILE = 1_000_000
"""Bytes of a description; 10,000 slices named by their numbers are 70,000 bytes."""

_MOST_VALUES = 200_000
"""Values of a description with every alias written out."""

FOLDER_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
"""All spellings by which Hydra takes a folder."""


def require_plain_descriptions(arguments: Sequence[str]) -> None:
    """Check the descriptions that a command line chooses, before Hydra reads them.

    Raises:
        FibsegError: one of them is more than a description, or too large.
    """
    folders = [Path("conf")]
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, folder = argument.partition("=")
        if flag in FOLDER_FLAGS:
            folders.append(Path(folder if equals else following))
        if flag.lstrip("+") == "hydra.searchpath":
            folders += map(Path, re.findall(r"file://([^,'\"\]]+)", argument))
    for name in typed_texts(arguments, "data"):
        require_plain(folder / "data" / f"{name}.yaml" for folder in folders)


def require_plain(paths: Iterable[Path]) -> None:
    """Check those of these descriptions that exist, before Hydra reads them.

    Raises:
        FibsegError: one of them is more than a description, or too large.
    """
    for path in paths:
        if path.is_file():
            read_plain(path)


def read_plain(path: Path) -> Any:
    """Read the content of a description.

    Raises:
        FibsegError: it is no YAML, too large, or asks Hydra for more than its own keys.
    """
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise FibsegError(
            f"{path}: {size / 1e6:.3g} MB; a data description has {_LARGEST_FILE / 1e6:g} MB at "
            "most."
        )
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        values = _count(content, {})
    except yaml.MarkedYAMLError as error:
        raise FibsegError(_broken_yaml(path, error)) from error
    # A whole number of 5,000 digits is a ValueError of Python's.
    except (yaml.YAMLError, ValueError) as error:
        raise FibsegError(f"{path}: {sentence(error)}") from error
    except RecursionError as error:
        raise FibsegError(f"{path}: nested too deeply for a data description.") from error
    if values > _MOST_VALUES:
        raise FibsegError(
            f"{path}: more than {_MOST_VALUES} values once its aliases (*) are written out; write "
            "a data description without them."
        )
    # What Hydra would obey: a header that places keys outside of data, and other files to read.
    if re.search(r"^\s*#\s*@package\b", text, re.MULTILINE):
        raise FibsegError(f"{path}: '# @package' has no place in a data description; delete it.")
    if isinstance(content, dict) and "defaults" in content:
        raise FibsegError(f"{path}: defaults: no key of a data description; write all keys in it.")
    return content


def _broken_yaml(path: Path, error: yaml.MarkedYAMLError) -> str:
    """Where a file ceases to be YAML, and why."""
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    reasons = [reason for reason in (error.context, error.problem) if reason]
    return f"{path}{place}: no YAML ({'; '.join(reasons)})."


def _count(node: Any, counts: dict[int, int]) -> int:
    """Count the values below a node with aliases written out; RecursionError for a circle."""
    if not isinstance(node, dict | list):
        return 1
    # A node that several aliases name is walked once.
    if id(node) not in counts:
        children = [*node, *node.values()] if isinstance(node, dict) else node
        counts[id(node)] = 1 + sum(_count(child, counts) for child in children)
    return counts[id(node)]


def with_homes(description: DataDescription) -> DataDescription:
    """The description with the home directory for every leading `~` of its paths; changes it."""
    description.root = with_home(description.root)
    for volume in description.volumes:
        volume.image = with_home(volume.image)
        volume.labels = _with_home(volume.labels)
        volume.mask = _with_home(volume.mask)
        if volume.second_expert is not None:
            volume.second_expert.labels = _with_home(volume.second_expert.labels)
    return description


def _with_home(paths: Any) -> Any:
    """The same for a path, or for one per class; a value of another type is left to its check."""
    if isinstance(paths, dict):
        return {name: _with_home(path) for name, path in paths.items()}
    return with_home(paths) if isinstance(paths, str) else paths
