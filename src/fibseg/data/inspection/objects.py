"""Doubts about the objects of a class: which touch, which are parted along z or in two places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import cc3d
import numpy as np

from fibseg.arrays import Ints, Mask
from fibseg.data.labels.instances import UNKNOWN, ObjectNumbers
from fibseg.scores.pieces import numbers_of_objects

_MOST_NAMED = 3
"""Objects that a sentence names."""


@dataclass
class _Pieces:
    """2-D pieces of objects over the slices of a volume.

    Attributes:
        objects: number of the object of each piece.
        slices: slice that each piece lies in.
        places: (row, column) of a pixel of each piece.
        pairs: pieces of neighbouring slices that touch; counted from 1.
    """

    objects: list[int] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    pairs: list[Ints] = field(default_factory=list)


class ObjectDoubts:
    """Takes the objects of one class of one volume slice by slice, in the order of z."""

    def __init__(self, volume: int, name: str):
        """Keep which volume of the description, and the name of the class."""
        self._volume = volume
        self._name = name
        self._pieces = _Pieces()
        self._annotated: list[int] = []
        self._touching: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._unknown = 0
        self._last: tuple[ObjectNumbers, ObjectNumbers] | None = None

    def add(self, z: int, objects: ObjectNumbers, of_class: Mask) -> None:
        """Add the objects (H, W) of slice z, where `of_class` (H, W) is true."""
        numbers = np.where(of_class, objects, 0)
        self._unknown += int(np.count_nonzero(numbers == UNKNOWN))
        numbers[numbers == UNKNOWN] = 0
        for upper, lower in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
            self._add_touching(z, upper, lower)
        # Pieces of one object that touch by a corner are one piece.
        pieces = np.asarray(cc3d.connected_components(numbers, connectivity=8), np.int32)
        values, first = np.unique(pieces, return_index=True)
        first = first[values > 0]
        base = len(self._pieces.objects)
        self._pieces.objects += numbers.ravel()[first].tolist()
        self._pieces.slices += [z] * len(first)
        rows, columns = np.divmod(first, numbers.shape[1])
        self._pieces.places += list(zip(rows.tolist(), columns.tolist(), strict=True))
        pieces[pieces > 0] += base
        follows = self._annotated and self._annotated[-1] == z - 1
        if self._last is not None and follows and self._last[0].shape == pieces.shape:
            self._link(self._last, (pieces, numbers))
        self._annotated.append(z)
        self._last = (pieces, numbers)

    def _add_touching(self, z: int, upper: ObjectNumbers, lower: ObjectNumbers) -> None:
        rows, columns = np.nonzero((upper != lower) & (upper > 0) & (lower > 0))
        ends = np.sort(np.stack([upper[rows, columns], lower[rows, columns]]), axis=0)
        pairs, first = np.unique(ends, axis=1, return_index=True)
        for (low, high), k in zip(pairs.T.tolist(), first.tolist(), strict=True):
            self._touching.setdefault((low, high), (z, int(rows[k]), int(columns[k])))

    def _link(
        self,
        above: tuple[ObjectNumbers, ObjectNumbers],
        below: tuple[ObjectNumbers, ObjectNumbers],
    ) -> None:
        """Note pieces of one object that share a place in two slices, each (pieces, objects)."""
        both = (above[1] == below[1]) & (above[1] > 0)
        pairs = np.unique(np.stack([above[0][both], below[0][both]]), axis=1)
        self._pieces.pairs.append(pairs.astype(np.int64))

    def notes(self) -> Iterator[str]:
        """Say how many objects there are, and which touch."""
        count = len(set(self._pieces.objects))
        yield f"{self._of_volume()}class {self._name} has {count} objects{self._touching_text()}."

    def _touching_text(self) -> str:
        if not self._touching:
            return ", and none touch in a slice"
        places = list(self._touching.values())[:_MOST_NAMED]
        return (
            f"; {len(self._touching)} pairs touch in a slice, as at z, y, x "
            f"{' and '.join(str(place) for place in places)}"
        )

    def warnings(self) -> Iterator[str]:
        """Report objects in several pieces, and pixels of the class in no object."""
        pieces = self._pieces
        pairs = np.concatenate([np.zeros((2, 0), np.int64), *pieces.pairs], axis=1)
        owner = numbers_of_objects(pairs, len(pieces.objects))[1:]
        slices = np.array(pieces.slices, np.int64)
        objects = np.array(pieces.objects, np.int64)
        parted: list[str] = []
        apart: list[str] = []
        # Pieces object by object, in the order of the slices.
        order = np.argsort(objects, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(objects[order])) + 1):
            groups = [members[owner[members] == group] for group in np.unique(owner[members])]
            if len(groups) < 2:
                continue
            spans = sorted((int(slices[group[0]]), int(slices[group[-1]])) for group in groups)
            gap = next(
                ((a[1], b[0]) for a, b in pairwise(spans) if a[1] < b[0]),
                None,
            )
            where = [(int(slices[group[0]]), *pieces.places[group[0]]) for group in groups[:2]]
            if gap is not None and self._is_annotated_between(*gap):
                parted.append(
                    f"the one at {where[0]} ends in slice {gap[0]} and is back in {gap[1]}"
                )
            elif gap is None:
                apart.append(f"{where[0]} and {where[1]}")
        yield from self._warning_texts(parted, apart)

    def _is_annotated_between(self, last: int, following: int) -> bool:
        """Whether every slice between two is annotated, so that an object could be in it."""
        return set(range(last, following)) <= set(self._annotated)

    def _warning_texts(self, parted: list[str], apart: list[str]) -> Iterator[str]:
        start = self._of_volume()
        if parted:
            yield (
                f"{start}{len(parted)} objects of class {self._name} are split along z: "
                f"{'; '.join(parted[:_MOST_NAMED])} (z, y, x)."
            )
        if apart:
            yield (
                f"{start}{len(apart)} ids of class {self._name} occur in two places that do not "
                f"touch, as at z, y, x {'; '.join(apart[:_MOST_NAMED])}; one object, or one id "
                "given twice?"
            )
        if self._unknown:
            yield (
                f"{start}{self._unknown} pixels of class {self._name} have no id; no object is "
                "learned there."
            )

    def _of_volume(self) -> str:
        return f"volume {self._volume}: " if self._volume else ""
