"""What is wrong or doubtful in annotated slices, before anything is trained on them.

Slices are looked at one by one, in the order of z, so a stack of any depth needs the memory of a few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.arrays import IGNORE
from fibseg.data.description import SPLITS, DataDescription, class_names
from fibseg.data.grey import GreyRange
from fibseg.data.leaks import SPECK, ObjectsAcrossSplits
from fibseg.data.slices import AnnotatedSlice, VolumeReader
from fibseg.errors import FibsegError
from fibseg.stack import located, open_stack

OUTSIDE = 0.05
"""Share of a slice's pixels outside the training's grey values above which it has drifted."""

GUARD = 5
"""Slices left out between two that are used, up to which a training reads them to follow objects."""

SAMPLE = 5_000
"""Pixels of a slice that stand for its grey values."""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should look at: "error" or "warning", and a sentence."""

    level: str
    text: str


@dataclass(frozen=True)
class SliceFacts:
    """What was seen in one annotated slice.

    Attributes:
        volume, z, split: which slice; the split is "" for one that is annotated and unused.
        shares: of each class, background first, among the pixels that somebody looked at.
        annotated: share of the pixels that somebody looked at.
        grey: (n,) pixels that stand for its grey values.
        specks: components smaller than SPECK pixels.
        same: labels equal to those of the slice before.
    """

    volume: int
    z: int
    split: str
    shares: tuple[float, ...]
    annotated: float
    grey: NDArray[Any]
    specks: int
    same: bool

    @property
    def foreground(self) -> float:
        """Share of all classes but the background."""
        return sum(self.shares[1:])


class Inspector:
    """Takes annotated slices one by one, each volume in the order of z, and says what is doubtful."""

    def __init__(self, description: DataDescription):
        self.description, self.names = description, class_names(description)
        self.slices: list[SliceFacts] = []
        self._objects: dict[tuple[int, int], ObjectsAcrossSplits] = {}
        self._before: tuple[int, int, bytes] | None = None

    def add(self, one: AnnotatedSlice, split: str) -> SliceFacts:
        """Look at a slice; `split` is "" where it is annotated and in none."""
        looked_at = one.labels != IGNORE
        counts = np.bincount(one.labels[looked_at], minlength=len(self.names)).astype(float)
        specks = 0
        for index in range(1, len(self.names)):
            objects = self._objects.setdefault((one.volume, index), ObjectsAcrossSplits())
            specks += objects.add(one.z, split, one.labels == index)
        content = one.labels.tobytes()
        same = (
            self._before is not None
            and self._before == (one.volume, one.z - 1, content)
            and counts[1:].any()
        )
        self._before = (one.volume, one.z, content)
        image = one.image.view(np.uint8) if one.image.dtype == bool else one.image
        step = max(1, int((image.size / SAMPLE) ** 0.5))  # every so many rows and columns
        total = max(counts.sum(), 1.0)
        facts = SliceFacts(
            one.volume,
            one.z,
            split,
            tuple((counts / total).tolist()),
            float(looked_at.mean()),
            image[::step, ::step].ravel(),
            specks,
            bool(same),
        )
        self.slices.append(facts)
        return facts

    def window(self) -> GreyRange | None:
        """Grey values of the training slices, from a sample of their pixels; None where there are none."""
        grey = [one.grey for one in self.slices if one.split == "train"]
        if not grey:
            return None
        percentiles = self.description.intensity.low, self.description.intensity.high
        low, high = np.percentile(np.concatenate(grey), percentiles)
        return GreyRange(float(low), float(high)) if high > low else None

    def findings(self) -> list[Finding]:
        """Every doubt, as sentences; none where no slice could be looked at."""
        if not self.slices:
            return []
        texts = [
            *self._unannotated(),
            *self._absent(),
            *self._leaks(),
            *self._drift(),
            *self._strokes(),
        ]
        return [Finding("warning", text) for text in texts]

    def _where(self, one: SliceFacts) -> str:
        volume = f"volume {one.volume}, " if len(self.description.volumes) > 1 else ""
        return f"{volume}{one.split + ' ' if one.split else ''}slice {one.z}"

    def _unannotated(self) -> list[str]:
        """Slices without a class beside others of the volume that have plenty."""
        found = []
        for volume in {one.volume for one in self.slices}:
            own = [one for one in self.slices if one.volume == volume and one.split]
            usual = median([one.foreground for one in own if one.foreground] or [0.0])
            for one in own:
                if one.annotated == 0:
                    found.append(f"{self._where(one)} has no annotated pixel.")
                elif usual > 0 and one.foreground == 0:
                    found.append(
                        f"{self._where(one)} is empty: not annotated? Take it out of data.volumes.split."
                    )
                elif one.foreground < usual / 10:
                    share = f"{one.foreground:.2%} of it is labelled, {usual:.1%} in others"
                    found.append(f"{self._where(one)} is nearly empty: half annotated? ({share})")
        return found

    def _absent(self) -> list[str]:
        """Splits without a class, and no test split."""
        used = {one.split for one in self.slices}
        found = (
            ["there is no test split; the run will have no test scores."]
            if "test" not in used
            else []
        )
        for split in SPLITS[1:]:
            own = [one.shares for one in self.slices if one.split == split]
            for index, name in enumerate(self.names):
                if index > 0 and own and not any(shares[index] for shares in own):
                    found.append(
                        f"class {name} does not occur in the {split} slices; it has no score there."
                    )
        return found

    def _leaks(self) -> list[str]:
        """Objects that a network is tested on and has seen the next slices of."""
        found = []
        for index, name in enumerate(self.names):
            own = [objects for (_, number), objects in self._objects.items() if number == index]
            counts = [objects.shared("test", "train") for objects in own]
            shared, total, pixels, of = np.sum(counts, axis=0).tolist() if counts else (0, 0, 0, 1)
            if shared:
                found.append(
                    f"{shared} of {total} objects of class {name} in the test slices continue into training slices and "
                    f"hold {pixels / of:.0%} of its test pixels; scores say little of other cells (leave slices "
                    "between, or test on another volume)."
                )
        return found

    def _drift(self) -> list[str]:
        window = self.window()
        if window is None or self.description.intensity.per == "slice":
            return []
        far = [one for one in self.slices if one.split and window.outside(one.grey) > OUTSIDE]
        if not far:
            return []
        return [
            f"{len(far)} slices, the first {self._where(far[0])}, have over {OUTSIDE:.0%} of their pixels outside the "
            f"grey values of the training ({window.low:g} to {window.high:g}); think of data.intensity.per=slice."
        ]

    def _strokes(self) -> list[str]:
        same = [one for one in self.slices if one.same and one.split]
        specks = sum(one.specks for one in self.slices if one.split)
        found = [
            f"{self._where(one)} has the labels of the slice before: copied?" for one in same[:5]
        ]
        if specks:
            found.append(
                f"{specks} labelled spots of fewer than {SPECK} pixels: strokes of the brush by mistake?"
            )
        return found


def inspect(
    description: DataDescription, slices: Mapping[str, Sequence[AnnotatedSlice]]
) -> list[Finding]:
    """Doubts about slices that are in memory, split -> slices; those left out between two of them are read too."""
    inspector = Inspector(description)
    every = [(one.volume, one.z, split, one) for split in SPLITS for one in slices[split]]
    every.sort(key=lambda entry: entry[:2])
    before: tuple[int, int] | None = None
    for volume, z, split, one in every:
        if before is not None and before[0] == volume and 1 < z - before[1] <= GUARD + 1:
            with suppress(FibsegError):  # nobody trains on them
                reader = VolumeReader(description, volume)
                for between in range(before[1] + 1, z):
                    inspector.add(reader.read(between), "")
        inspector.add(one, split)
        before = volume, z
    return voxel_findings(description) + inspector.findings()


def voxel_findings(description: DataDescription) -> list[Finding]:
    """Where a file says another voxel size than the description."""
    found = []
    for index, volume in enumerate(description.volumes):
        try:
            told = open_stack(located(description.root, volume.image)).voxel_size
        except FibsegError:
            continue  # an error of its own
        ours = list(volume.voxel_size)
        if (
            told
            and len(ours) == 3
            and any(abs(a / b - 1) >= 0.01 for a, b in zip(ours, told, strict=True))
        ):
            text = f"data.volumes[{index}].voxel_size: {ours} nm, but {volume.image} says {list(told)} nm."
            found.append(Finding("warning", text))
    return found


def slice_split(positions: Mapping[str, Sequence[int]], z: int) -> str:
    """The split of a slice, "" where it is in none."""
    return next((split for split, own in positions.items() if z in own), "")
