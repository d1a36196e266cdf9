"""The zip of a bioimage.io package: its names, its description and its files, read with care."""

from __future__ import annotations

import hashlib
import io
import math
import re
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.models.foreign.running import first_line

DESCRIPTION_NAME = "bioimageio.yaml"
"""Name of the description in a package that fibseg writes."""

_DESCRIPTION_NAMES = ("rdf.yaml", DESCRIPTION_NAME, "model.yaml")
"""Names of it that are read, alone or behind a point, in bioimageio.spec's order."""

_LARGEST_DESCRIPTION = 1_000_000
_MOST_VALUES = 100_000
"""Values of a description with every alias written out."""

_LONGEST_NUMBER = 1000
"""Letters of a value that is no text: long ones take Python minutes."""

LARGEST_TENSOR = 256_000_000
LARGEST_WEIGHTS = 2**31
"""Bytes of a test input or output, and of weights, which is the limit of ONNX."""

_LARGEST_RATIO = 20
_SMALL = 64_000_000
"""How many times its packed size a file may unpack to, where it has more bytes than that: weights
shrink little."""


class Archive:
    """A package on the disk, of which nothing is unpacked.

    Attributes:
        path: of the zip.
        name: of the description in it.
    """

    def __init__(self, path: Path):
        """Open a package and check the names in it.

        Raises:
            FibsegError: it is missing, no zip, no package, or holds names that leave it.
        """
        if not path.is_file():
            raise FibsegError(f"{path}: no such file.")
        try:
            self.zip = zipfile.ZipFile(path)
            entries = self.zip.infolist()
        # zipfile raises many kinds of exceptions on bytes that it did not write.
        except Exception as error:
            raise FibsegError(f"{path}: no zip, or a damaged one ({first_line(error)}).") from error
        self.path = path
        self._check(entries)
        names = {entry.filename for entry in entries}
        described = [
            name
            for known in _DESCRIPTION_NAMES
            for name in sorted(names)
            if name == known or name.endswith(f".{known}")
        ]
        if not described:
            raise FibsegError(f"{path}: no package of bioimage.io: it holds no {DESCRIPTION_NAME}.")
        self.name = described[0]

    def close(self) -> None:
        """Close the file."""
        self.zip.close()

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        for entry in entries:
            name = entry.filename
            parts = PurePosixPath(name).parts
            leaves = ".." in parts or name.startswith("/") or bool(re.search(r"[\\:\0]", name))
            if leaves or stat.S_ISLNK(entry.external_attr >> 16):
                raise FibsegError(
                    f"{self.path}: holds {name!r}, which leaves the package; it is not read."
                )
            # Of other methods, Python unpacks more than an entry states.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FibsegError(
                    f"{self.path}: {name!r} is packed by another method than deflate; it is not "
                    "read."
                )

    def description(self) -> dict[str, Any]:
        """Read the description as plain values.

        Raises:
            FibsegError: it is no YAML, or too large.
        """
        content = self.read(self.name, _LARGEST_DESCRIPTION)
        try:
            # Nodes first, since values of aliases and merged keys multiply as they are made.
            root = yaml.compose(content, Loader=yaml.SafeLoader)
            reason = None if root is None else _too_much(root)
            described = None if reason else yaml.safe_load(content)
        # PyYAML raises many kinds of exceptions on values that are none of their type.
        except Exception as error:
            raise FibsegError(
                f"{self.path}: {self.name} is no YAML ({first_line(error)})."
            ) from error
        if reason:
            raise FibsegError(f"{self.path}: {self.name} {reason}.")
        if not isinstance(described, dict):
            raise FibsegError(f"{self.path}: {self.name} describes nothing.")
        return described

    def read(self, name: str, largest: int, sha256: Any = None) -> bytes:
        """Read a file of the package, and compare it with its SHA-256 where there is one.

        Raises:
            FibsegError: it is missing, damaged, larger than `largest` bytes, or another file.
        """
        try:
            entry = self.zip.getinfo(name.removeprefix("./"))
        except KeyError:
            raise FibsegError(
                f"{self.path}: {name!r} is not in the package; nothing is read from elsewhere."
            ) from None
        size = entry.file_size
        packed = min(entry.compress_size, self.path.stat().st_size)
        if size > largest:
            raise FibsegError(
                f"{self.path}: {name} has {size / 1e6:.3g} MB; at most {largest / 1e6:g} MB are "
                "read."
            )
        if size > max(_SMALL, _LARGEST_RATIO * packed):
            raise FibsegError(
                f"{self.path}: {name} has {packed / 1e6:.3g} MB that unpack to {size / 1e6:.3g} "
                "MB; it is not read."
            )
        try:
            content = self.zip.read(entry)
        # zipfile and zlib raise many kinds of exceptions on bytes that they did not write.
        except Exception as error:
            raise FibsegError(f"{self.path}: {name} is damaged ({first_line(error)}).") from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != str(sha256):
            raise FibsegError(f"{self.path}: {name} does not fit its SHA-256; it was changed.")
        return content

    def array(self, name: str, sha256: Any = None) -> Pixels:
        """Read an array of numpy's own format, which holds no code.

        Raises:
            FibsegError: it is missing, damaged, or no such file.
        """
        content = self.read(name, LARGEST_TENSOR, sha256)
        try:
            array = np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
        # numpy raises many kinds of exceptions on bytes that it did not write.
        except Exception as error:
            raise FibsegError(
                f"{self.path}: {name} is no array of numbers ({first_line(error)})."
            ) from error
        if array.dtype.kind not in "biuf":
            raise FibsegError(
                f"{self.path}: {name} is no array of numbers (its type is {array.dtype})."
            )
        return array


def _too_much(root: yaml.Node) -> str | None:
    """What is wrong with a document before it is made into values; None where nothing is."""
    count = _count_values(root, {})
    if count > _MOST_VALUES:
        return f"has more than {_MOST_VALUES} values once its aliases (*) are written out"
    # As few as that can be walked with aliases written out.
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.ScalarNode):
            is_long = len(node.value) > _LONGEST_NUMBER
            if is_long and node.tag != "tag:yaml.org,2002:str":
                return f"has a number of {len(node.value)} letters"
        nodes += _children(node)
    return None


def _children(node: yaml.Node) -> list[yaml.Node]:
    """Nodes right below a node, keys included."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _count_values(node: yaml.Node, counts: dict[int, float]) -> float:
    """Count the nodes below a node, with aliases written out; `counts` are those by identity."""
    # A node that several aliases name is walked once; one that holds itself has no end.
    if id(node) not in counts:
        counts[id(node)] = math.inf
        counts[id(node)] = 1 + sum(_count_values(child, counts) for child in _children(node))
    return counts[id(node)]
