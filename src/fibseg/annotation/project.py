"""An annotation project: a folder that refers to an image and keeps what was painted on it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from fibseg.annotation.journal import Journal
from fibseg.annotation.layers import Layers
from fibseg.annotation.state import STATE_FILE, ProjectState, checked_classes
from fibseg.arrays import IGNORE, Mask, UInt8
from fibseg.data.identity import picture_digest
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.stack import Stack

_JOURNAL = "journal"
_APPLIED = "applied.txt"


class AnnotationProject:
    """An opened project, which no other window or command can open at the same time.

    Attributes:
        folder: of the project.
        state: what project.yaml holds.
        image: the stack.
        layers: labels, reviewed mask and proposals.
        journal: every change of labels and reviewed mask.
    """

    def __init__(self, folder: Path, state: ProjectState, image: Stack):
        self.folder = folder
        self.state = state
        self.image = image
        depth, height, width = image.shape
        self.layers = Layers(folder, (depth, height, width))
        self.journal = Journal(folder / _JOURNAL)
        self._reviewed: dict[int, Set[int]] | None = None
        self._digests: dict[int, str] = {}
        self._applied = 0 if self.layers.is_new else self._noted_as_applied()
        self._catch_up()

    def paint(self, z: int, labels: UInt8, reviewed: Mask, what: str = "paint") -> bool:
        """Save labels (H, W) and reviewed mask (H, W) of a slice, as far as they differ.

        Class indices; 0 is background where the slice is reviewed, and IGNORE a pixel of which the
        person is not sure. `what` says in the journal what it was.

        Returns:
            Whether anything differed.

        Raises:
            FibsegError: the slice is none, of another shape, or a value is no class.
            DiskFullError: there is no room; what was saved before is not lost.
        """
        self._check_pixels(z, labels, reviewed)
        rows, columns = (slice(0, side) for side in self.image.shape[1:])
        before = self.layers.box(z, rows, columns)
        after = np.stack([labels, reviewed.astype(np.uint8)])
        changed = (before != after).any(axis=0)
        if not changed.any():
            return False
        y_all = np.flatnonzero(changed.any(axis=1))
        x_all = np.flatnonzero(changed.any(axis=0))
        box = (slice(y_all[0], y_all[-1] + 1), slice(x_all[0], x_all[-1] + 1))
        place = (z, int(y_all[0]), int(x_all[0]))
        self._change(what, place, (before[:, *box], after[:, *box]))
        return True

    def undo(self, count: int = 1) -> list[str]:
        """Take back the last changes that hold, as changes of their own.

        Returns:
            A line for each change that was taken back, the last one first.

        Raises:
            FibsegError: there are not so many.
        """
        numbers = self.journal.undoable()
        if not 1 <= count <= len(numbers):
            raise FibsegError(f"--undo {count}: there are {len(numbers)} changes to take back.")
        return [self._take_back(number) for number in reversed(numbers[-count:])]

    def undo_to(self, number: int) -> list[str]:
        """Take back every change after the one of this number, also what took changes back.

        Raises:
            FibsegError: there is no such change.
        """
        if not 0 <= number <= self.journal.count:
            raise FibsegError(
                f"--undo-to {number}: the journal has changes 1 to {self.journal.count}."
            )
        return [self._take_back(entry) for entry in range(self.journal.count, number, -1)]

    def propose(self, z: int, labels: UInt8) -> None:
        """Keep the labels (H, W) that a model gives a slice, for a person to accept or correct."""
        self._check_pixels(z, labels, np.zeros(labels.shape, bool))
        self.layers.propose(z, labels)

    def accept(self, z: int) -> bool:
        """Take the proposal for a slice as its labels, reviewed everywhere.

        Returns:
            Whether that changed anything.

        Raises:
            FibsegError: there is no proposal for the slice.
        """
        proposal = self.layers.proposed(z)
        if proposal is None:
            raise FibsegError(f"slice {z}: nothing is proposed for it; propose it first.")
        return self.paint(z, proposal, np.ones(proposal.shape, bool), "accept")

    def reviewed_slices(self) -> dict[int, Set[int]]:
        """List the slices with a reviewed region, each with the classes that occur in it."""
        if self._reviewed is None:
            by_slice = {z: self._classes_in(z) for z in self.layers.touched()}
            self._reviewed = {z: classes for z, classes in by_slice.items() if classes is not None}
        return dict(self._reviewed)

    def digest(self, z: int) -> str:
        """Hash a slice of the image; each is read once."""
        if z not in self._digests:
            self._digests[z] = picture_digest(self.image.read(z))[:16]
        return self._digests[z]

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes behind those that the project has.

        Raises:
            FibsegError: a name is none, or is there already.
        """
        self.update(classes=checked_classes([*self.state.classes, *names]))

    def update(self, **values: object) -> None:
        """Change values of project.yaml."""
        state = replace(self.state, **values)  # type: ignore[arg-type]
        state.write(self.folder / STATE_FILE)
        self.state = state

    def _change(
        self,
        what: str,
        place: tuple[int, int, int],
        pixels: tuple[UInt8, UInt8],
        undoes: int | None = None,
    ) -> None:
        z = place[0]
        facts = {"classes": len(self.state.classes), "image": self.digest(z), "undoes": undoes}
        # The journal first: what a kill or a full disk leaves out of the layers is caught up.
        self.journal.append(what, place, pixels, facts)
        self._catch_up()
        if self._reviewed is not None:
            classes = self._classes_in(z)
            self._reviewed.pop(z, None)
            self._reviewed |= {} if classes is None else {z: classes}

    def _take_back(self, number: int) -> str:
        change = self.journal.read(number)
        heading = change.heading
        place = (heading.z, heading.y, heading.x)
        self._change("undo", place, (change.after, change.before), undoes=number)
        return heading.line()

    def _noted_as_applied(self) -> int:
        path = self.folder / _JOURNAL / _APPLIED
        text = path.read_text(encoding="utf-8") if path.exists() else "0"
        # A damaged number costs time alone: changes may be applied again.
        return int(text) if text.isdecimal() else 0

    def _catch_up(self) -> None:
        """Apply the changes of the journal that the layers lack, in order."""
        begun = self._applied
        while self._applied < self.journal.count:
            change = self.journal.read(self._applied + 1)
            heading = change.heading
            self.layers.write((heading.z, heading.y, heading.x), change.after)
            self._applied += 1
        if begun != self._applied:
            write_whole(self.folder / _JOURNAL / _APPLIED, str(self._applied))

    def _classes_in(self, z: int) -> Set[int] | None:
        """The classes in the reviewed region of a slice; None where nothing is reviewed."""
        reviewed = self.layers.reviewed(z)
        if not reviewed.any():
            return None
        return set(np.unique(self.layers.labels(z)[reviewed]).tolist()) - {0, IGNORE}

    def _check_pixels(self, z: int, labels: UInt8, reviewed: Mask) -> None:
        depth, height, width = self.image.shape
        if not 0 <= z < depth:
            raise FibsegError(f"slice {z}: the image has slices 0 to {depth - 1}.")
        if labels.shape != (height, width) or reviewed.shape != labels.shape:
            raise FibsegError(
                f"slice {z}: labels of shape {labels.shape}; the slices of the image are of shape "
                f"{(height, width)}."
            )
        values = np.unique(labels)
        unknown = values[(values > len(self.state.classes)) & (values != IGNORE)]
        if unknown.size:
            known = ", ".join(f"{k} {name}" for k, name in enumerate(self.state.classes, 1))
            raise FibsegError(
                f"slice {z}: value {unknown[0]} is no class of the project ({known}; {IGNORE} is "
                "unsure); name it first, by fibseg annotate NAME --class CLASS."
            )
