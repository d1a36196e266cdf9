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
from fibseg.rules import brief

_LARGEST_FILE = 1_000_000
"""Bytes of a description; 10,000 slices named by their numbers are 70,000 bytes."""

_MOST_VALUES = 200_000
"""Values of a description with every alias written out."""

_DEEPEST = 20
"""Levels of a description; an image of a volume stands on the third."""

FOLDER_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
"""All spellings by which Hydra takes a folder."""


class _Loader(yaml.SafeLoader):
    """YAML of built-in types alone, in which a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping; of two keys of one name the first would be passed over in silence."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        names = [key.value for key in keys]
        for key in keys:
            if names.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} stands there twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


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
        content = yaml.load(text, _Loader)
        values = _count(path, content, {}, depth=0)
    except yaml.MarkedYAMLError as error:
        raise FibsegError(_broken_yaml(path, error)) from error
    except UnicodeDecodeError as error:
        raise FibsegError(f"{path}: no text in UTF-8, and so no data description.") from error
    # Python reads no whole number of 5,000 digits.
    except (yaml.YAMLError, ValueError) as error:
        raise FibsegError(f"{path}: a value cannot be read ({sentence(error)}).") from error
    except RecursionError as error:
        raise FibsegError(_too_deep(path)) from error
    if not isinstance(content, dict):
        raise FibsegError(
            f"{path}: no data description; expected keys and values, as name: mycell."
        )
    if values > _MOST_VALUES:
        raise FibsegError(
            f"{path}: more than {_MOST_VALUES} values once its aliases (*) are written out; write "
            "a data description without them."
        )
    # What Hydra would obey: a header that places keys outside of data, and other files to read.
    if re.search(r"^\s*#\s*@package\b", text, re.MULTILINE):
        raise FibsegError(f"{path}: '# @package' has no place in a data description; delete it.")
    if "defaults" in content:
        raise FibsegError(f"{path}: defaults: no key of a data description; write all keys in it.")
    return content


def _broken_yaml(path: Path, error: yaml.MarkedYAMLError) -> str:
    """Where a file ceases to be YAML, and why."""
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    reasons = [reason for reason in (error.context, error.problem) if reason]
    return f"{path}{place}: no YAML ({'; '.join(reasons)})."


def _too_deep(path: Path) -> str:
    return f"{path}: nested deeper than a data description is, or its aliases (*) turn in a circle."


def _count(path: Path, node: Any, counts: dict[int, int], depth: int) -> int:
    """Count the values below a node with aliases written out.

    Args:
        path: of the file, for messages.
        node: of the file.
        counts: of nodes that were walked before, by their identity.
        depth: of the node.

    Raises:
        FibsegError: the node is nested too deeply, as in a circle, or a key is no text.
    """
    if not isinstance(node, dict | list):
        return 1
    if depth > _DEEPEST:
        raise FibsegError(_too_deep(path))
    # A node that several aliases name is walked once.
    if id(node) not in counts:
        for key in node if isinstance(node, dict) else ():
            if not isinstance(key, str):
                raise FibsegError(f"{path}: the key {brief(key)} is no text; put it in quotes.")
        children = node.values() if isinstance(node, dict) else node
        below = [_count(path, child, counts, depth + 1) for child in children]
        counts[id(node)] = 1 + sum(below)
    return counts[id(node)]


def with_homes(description: DataDescription) -> DataDescription:
    """The description with the home directory for every leading `~` of its paths; changes it."""
    description.root = with_home(description.root)
    for volume in description.volumes:
        volume.image = with_home(volume.image)
        volume.labels = _with_home(volume.labels)
        volume.mask = _with_home(volume.mask)
        volume.instances = _with_home(volume.instances)
        if volume.second_expert is not None:
            volume.second_expert.labels = _with_home(volume.second_expert.labels)
    return description


def _with_home(paths: Any) -> Any:
    """The same for a path, or for one per class; a value of another type is left to its check."""
    if isinstance(paths, dict):
        return {name: _with_home(path) for name, path in paths.items()}
    return with_home(paths) if isinstance(paths, str) else paths
