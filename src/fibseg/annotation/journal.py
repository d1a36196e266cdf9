"""The journal of an annotation project: every change of labels, with who made it and when."""

from __future__ import annotations

import getpass
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.files import write_whole


@dataclass(frozen=True)
class Heading:
    """What is known of a change without its pixels.

    Attributes:
        number: of the change, from 1 on.
        time: when it was saved, ISO 8601 in UTC.
        who: name of the user.
        what: what it was: paint, add, accept, clear or undo.
        z: slice of the image.
        y: first row of the changed box.
        x: first column of the changed box.
        classes: how many classes the project had.
        image: digest of the slice of the image.
        undoes: number of the change that this one takes back; None for a change of its own.
    """

    number: int
    time: str
    who: str
    what: str
    z: int
    y: int
    x: int
    classes: int = 0
    image: str = ""
    undoes: int | None = None

    def line(self) -> str:
        """Write the heading as a line for a person."""
        undone = "" if self.undoes is None else f" of {self.undoes}"
        return f"{self.number:6d}  {self.time}  {self.who}  {self.what}{undone}, slice {self.z}"


@dataclass(frozen=True)
class Change:
    """A change of a box of pixels.

    Attributes:
        heading: number, time, person and place.
        before: labels and reviewed mask (2, h, w) before it.
        after: the same after it.
    """

    heading: Heading
    before: UInt8
    after: UInt8


class Journal:
    """The changes of a project, one file for each; nothing is ever deleted from it."""

    def __init__(self, folder: Path):
        self._folder = folder
        # The largest number and not how many there are: one that is gone is said when it is read.
        numbers = [int(path.stem) for path in folder.glob("*.npz") if path.stem.isdecimal()]
        self.count = max(numbers, default=0)
        self._headings: list[Heading] | None = None

    def append(
        self,
        what: str,
        place: tuple[int, int, int],
        pixels: tuple[UInt8, UInt8],
        facts: Mapping[str, Any],
    ) -> Change:
        """Write a change, which is on the disk when this returns.

        Args:
            what: word for the change.
            place: slice, first row and first column of the box.
            pixels: labels and reviewed mask (2, h, w) before and after.
            facts: further values of the heading.

        Raises:
            DiskFullError: there is no room; nothing was written.
        """
        z, y, x = place
        heading = Heading(
            number=self.count + 1,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            who=_user(),
            what=what,
            z=z,
            y=y,
            x=x,
            **facts,
        )
        before, after = pixels
        content = io.BytesIO()
        text = json.dumps(asdict(heading))
        np.savez_compressed(content, heading=np.array(text), before=before, after=after)
        write_whole(self._path(heading.number), content.getvalue())
        self.count = heading.number
        if self._headings is not None:
            self._headings.append(heading)
        return Change(heading, before, after)

    def read(self, number: int) -> Change:
        """Read a change with its pixels.

        Raises:
            FibsegError: the file is damaged or gone.
        """
        heading, arrays = self._load(number, ("before", "after"))
        return Change(heading, *arrays)

    def headings(self) -> list[Heading]:
        """List the headings of all changes, in order; the files are read once.

        Raises:
            FibsegError: a file is damaged or gone.
        """
        if self._headings is None:
            self._headings = [self._load(number, ())[0] for number in range(1, self.count + 1)]
        return list(self._headings)

    def undoable(self) -> list[int]:
        """List the numbers of the changes that hold now, in order."""
        # A change that is taken back twice holds again: the second one took back the first.
        meant: dict[int, int] = {}
        holds: dict[int, bool] = {}
        for heading in self.headings():
            if heading.undoes is None:
                meant[heading.number] = heading.number
                holds[heading.number] = True
            else:
                original = meant[heading.undoes]
                meant[heading.number] = original
                holds[original] = not holds[original]
        return [number for number, is_held in holds.items() if is_held]

    def _load(self, number: int, names: tuple[str, ...]) -> tuple[Heading, list[Any]]:
        path = self._path(number)
        try:
            # Arrays and text alone: nothing in the file is run.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                heading = Heading(**json.loads(str(content["heading"])))
                return heading, [content[name] for name in names]
        except FileNotFoundError:
            reason = "a change of the journal is gone"
        except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, EOFError):
            reason = "damaged"
        raise FibsegError(f"{path}: {reason}; put it back from a copy of the project.")

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"


def _user() -> str:
    """Name of the user; a container may have none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
