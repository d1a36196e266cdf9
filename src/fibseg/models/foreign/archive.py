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

DESCRIPTION_NAMES = ("bioimageio.yaml", "rdf.yaml")
"""Names of the description in a package, the newer one first."""

_LARGEST_DESCRIPTION = 1_000_000
_MOST_VALUES = 100_000
"""Values of a description with every alias written out."""

_LARGEST_RATIO = 200
"""How many times its size a package may unpack to; weights shrink little."""


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
        described = [name for name in DESCRIPTION_NAMES if name in names]
        if not described:
            raise FibsegError(
                f"{path}: no package of bioimage.io: it holds no {DESCRIPTION_NAMES[0]}."
            )
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
        size = self.path.stat().st_size
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > _LARGEST_RATIO * size:
            raise FibsegError(
                f"{self.path}: {size / 1e6:.3g} MB that unpack to {unpacked / 1e6:.3g} MB; it is "
                "not read."
            )

    def description(self) -> dict[str, Any]:
        """Read the description as plain values.

        Raises:
            FibsegError: it is no YAML, or too large.
        """
        content = self.read(self.name, _LARGEST_DESCRIPTION)
        try:
            described = yaml.safe_load(content)
            count = _count_values(described, {})
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FibsegError(
                f"{self.path}: {self.name} is no YAML ({first_line(error)})."
            ) from error
        if not isinstance(described, dict):
            raise FibsegError(f"{self.path}: {self.name} describes nothing.")
        if count > _MOST_VALUES:
            raise FibsegError(
                f"{self.path}: {self.name} has more than {_MOST_VALUES} values once its aliases "
                "(*) are written out."
            )
        return described

    def read(self, name: str, largest: int | None = None, sha256: Any = None) -> bytes:
        """Read a file of the package, and compare it with its SHA-256 where there is one.

        Raises:
            FibsegError: it is missing, damaged, larger than `largest` bytes, or another file.
        """
        try:
            entry = self.zip.getinfo(name.removeprefix("./"))
            if largest is not None and entry.file_size > largest:
                raise FibsegError(f"{self.path}: {name} has more than {largest / 1e6:g} MB.")
            content = self.zip.read(entry)
        except KeyError:
            raise FibsegError(
                f"{self.path}: {name!r} is not in the package; nothing is read from elsewhere."
            ) from None
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
            raise FibsegError(f"{self.path}: {name} is damaged ({first_line(error)}).") from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != str(sha256):
            raise FibsegError(f"{self.path}: {name} does not fit its SHA-256; it was changed.")
        return content

    def array(self, name: str, sha256: Any = None) -> Pixels:
        """Read an array of numpy's own format, which holds no code.

        Raises:
            FibsegError: it is missing, damaged, or no such file.
        """
        content = self.read(name, sha256=sha256)
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        # numpy raises many kinds of exceptions on bytes that it did not write.
        except Exception as error:
            raise FibsegError(
                f"{self.path}: {name} is no array of numbers ({first_line(error)})."
            ) from error
        return np.asarray(array)


def _count_values(node: Any, counts: dict[int, float]) -> float:
    """Count the values below a node, with aliases written out; `counts` are those by identity."""
    if not isinstance(node, dict | list):
        return 1
    # A node that several aliases name is walked once; one that holds itself has no end.
    if id(node) not in counts:
        counts[id(node)] = math.inf
        values = node.values() if isinstance(node, dict) else node
        counts[id(node)] = 1 + sum(_count_values(value, counts) for value in values)
    return counts[id(node)]
