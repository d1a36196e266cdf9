"""What is wrong or doubtful in annotated slices, before anything is trained on them.

Slices are inspected one by one, in the order of z, so a stack of any depth needs the memory of a
few slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np

from fibseg.arrays import IGNORE, Pixels, Place
from fibseg.data.description import SPLITS, DataDescription, class_names
from fibseg.data.grey import DRIFTED_SHARE, GreyRange, grey_sample
from fibseg.data.leaks import SPECK_PIXELS, ObjectsAcrossSplits
from fibseg.data.volume import AnnotatedSlice, VolumeReader
from fibseg.errors import FibsegError
from fibseg.stack import located, open_stack

_LARGEST_GAP = 5
"""Slices between two that are used, up to which a training reads them to follow objects."""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should look at: "error" or "warning", and a sentence."""

    level: str
    text: str


@dataclass(frozen=True)
class SliceFacts:
    """What an inspection keeps of one annotated slice.

    Attributes:
        volume: index of its volume in the description.
        z: slice of the image.
        split: "" for a slice that is annotated and unused.
        shares: of each class, background first, among the annotated pixels.
        annotated: share of the pixels that are annotated.
        grey: (n,) pixels that stand for its grey values.
        specks: components smaller than SPECK_PIXELS.
        repeated: whether its labels equal those of the slice before.
    """

    volume: int
    z: int
    split: str
    shares: tuple[float, ...]
    annotated: float
    grey: Pixels
    specks: int
    repeated: bool

    @property
    def place(self) -> Place:
        """Where the slice lies."""
        return Place(self.volume, self.z)

    @property
    def foreground(self) -> float:
        """Share of all classes but the background."""
        return sum(self.shares[1:])


class Inspector:
    """Takes annotated slices one by one, in the order of z of each volume, and reports doubts.

    Attributes:
        description: the data description of the slices.
        names: of the classes, background first.
        slices: facts of every slice so far.
    """

    def __init__(self, description: DataDescription):
        self.description = description
        self.names = class_names(description)
        self.slices: list[SliceFacts] = []
        self._objects: dict[tuple[int, int], ObjectsAcrossSplits] = {}
        self._last_labels: tuple[Place, bytes] | None = None

    def add(self, annotated_slice: AnnotatedSlice, split: str) -> SliceFacts:
        """Inspect a slice; `split` is "" where it is annotated and in no split."""
        labels = annotated_slice.labels
        is_annotated = labels != IGNORE
        counts = np.bincount(labels[is_annotated], minlength=len(self.names)).astype(float)
        facts = SliceFacts(
            volume=annotated_slice.volume,
            z=annotated_slice.z,
            split=split,
            shares=tuple((counts / max(counts.sum(), 1.0)).tolist()),
            annotated=float(is_annotated.mean()),
            # All pixels of a deep stack would not fit into memory.
            grey=grey_sample(annotated_slice.image).ravel(),
            specks=self._follow_objects(annotated_slice, split),
            repeated=self._repeats_last(annotated_slice) and bool(counts[1:].any()),
        )
        self.slices.append(facts)
        return facts

    def _follow_objects(self, annotated_slice: AnnotatedSlice, split: str) -> int:
        """Add the objects of all classes; gives the number of specks among them."""
        specks = 0
        for index in range(1, len(self.names)):
            key = annotated_slice.volume, index
            objects = self._objects.setdefault(key, ObjectsAcrossSplits())
            specks += objects.add(annotated_slice.z, split, annotated_slice.labels == index)
        return specks

    def _repeats_last(self, annotated_slice: AnnotatedSlice) -> bool:
        """Whether the labels are those of the slice before; this slice becomes the last one."""
        volume, z = annotated_slice.place
        # The bytes of the last slice, since the caller may reuse or change the array.
        content = annotated_slice.labels.tobytes()
        repeats = self._last_labels == (Place(volume, z - 1), content)
        self._last_labels = Place(volume, z), content
        return repeats

    def grey_range(self) -> GreyRange | None:
        """Compute the grey range of the training slices from a sample of their pixels.

        None where there is no training slice, or one grey value only.
        """
        grey = [facts.grey for facts in self.slices if facts.split == "train"]
        if not grey:
            return None
        intensity = self.description.intensity
        # All training slices together, as `grey_range` takes them.
        low, high = np.percentile(np.concatenate(grey), (intensity.low, intensity.high))
        return GreyRange(float(low), float(high)) if high > low else None

    def findings(self) -> list[Finding]:
        """List every doubt as a sentence; none where there is no slice."""
        if not self.slices:
            return []
        texts = [
            *self._unannotated(),
            *self._missing_splits_and_classes(),
            *self._leaks(),
            *self._drift(),
            *self._repeated_labels(),
            *self._specks(),
        ]
        return [Finding("warning", text) for text in texts]

    def _slice_name(self, facts: SliceFacts) -> str:
        volume = f"volume {facts.volume}, " if len(self.description.volumes) > 1 else ""
        return f"{volume}{facts.split + ' ' if facts.split else ''}slice {facts.z}"

    def _unannotated(self) -> Iterator[str]:
        """Report slices without foreground in a volume whose other slices have plenty."""
        for volume in {facts.volume for facts in self.slices}:
            used = [facts for facts in self.slices if facts.volume == volume and facts.split]
            # The median over slices with foreground: most slices of a sparse annotation are empty.
            foregrounds = [facts.foreground for facts in used if facts.foreground]
            usual = median(foregrounds) if foregrounds else 0.0
            for facts in used:
                name = self._slice_name(facts)
                if facts.annotated == 0:
                    yield f"{name} has no annotated pixel."
                elif usual > 0 and facts.foreground == 0:
                    yield f"{name} is empty: not annotated? Take it out of data.volumes.split."
                elif facts.foreground < usual / 10:
                    shares = f"{facts.foreground:.2%} of it is labelled, {usual:.1%} in others"
                    yield f"{name} is nearly empty: half annotated? ({shares})"

    def _missing_splits_and_classes(self) -> Iterator[str]:
        if not any(facts.split == "test" for facts in self.slices):
            yield "there is no test split; the run will have no test scores."
        for split in SPLITS[1:]:
            shares = [facts.shares for facts in self.slices if facts.split == split]
            for index, name in enumerate(self.names):
                if index > 0 and shares and not any(row[index] for row in shares):
                    yield (
                        f"class {name} does not occur in the {split} slices; it has no score there."
                    )

    def _leaks(self) -> Iterator[str]:
        """Report objects of the test slices whose neighbouring slices are trained on."""
        for index, name in enumerate(self.names):
            shared = [
                objects.shared("test", "train")
                for (_, class_index), objects in self._objects.items()
                if class_index == index
            ]
            objects = sum(count.objects for count in shared)
            if objects:
                total = sum(count.all_objects for count in shared)
                pixels = sum(count.pixels for count in shared)
                share = pixels / sum(count.all_pixels for count in shared)
                yield (
                    f"{objects} of {total} objects of class {name} in the test slices continue "
                    f"into training slices and hold {share:.0%} of its test pixels; scores say "
                    "little of other cells (leave slices between, or test on another volume)."
                )

    def _drift(self) -> Iterator[str]:
        grey_range = self.grey_range()
        # With a grey range for every slice, drift does no harm.
        if grey_range is None or self.description.intensity.per == "slice":
            return
        drifted = [
            facts
            for facts in self.slices
            if facts.split and grey_range.outside(facts.grey) > DRIFTED_SHARE
        ]
        if drifted:
            yield (
                f"{len(drifted)} slices, the first {self._slice_name(drifted[0])}, have over "
                f"{DRIFTED_SHARE:.0%} of their pixels outside the grey range of the training "
                f"({grey_range.low:g} to {grey_range.high:g}); consider data.intensity.per=slice."
            )

    def _repeated_labels(self) -> Iterator[str]:
        repeated = [facts for facts in self.slices if facts.repeated and facts.split]
        # A whole copied stack would hide all other findings.
        for facts in repeated[:5]:
            yield f"{self._slice_name(facts)} has the labels of the slice before: copied?"

    def _specks(self) -> Iterator[str]:
        specks = sum(facts.specks for facts in self.slices if facts.split)
        if specks:
            yield (
                f"{specks} labelled spots of fewer than {SPECK_PIXELS} pixels: "
                "accidental strokes of the brush?"
            )


def inspect(
    description: DataDescription, slices: Mapping[str, Sequence[AnnotatedSlice]]
) -> list[Finding]:
    """Report doubts about slices that are in memory, split -> slices.

    Slices of the files that lie between two of them are read too, since objects are followed
    through them.
    """
    inspector = Inspector(description)
    used = [(entry.place, split, entry) for split in SPLITS for entry in slices[split]]
    used.sort(key=lambda item: item[0])
    last: Place | None = None
    for place, split, annotated_slice in used:
        if last is not None and last.volume == place.volume:
            # Nobody trains on the slices between, so what is wrong with them is no error.
            with suppress(FibsegError):
                _add_between(inspector, last, place)
        inspector.add(annotated_slice, split)
        last = place
    return voxel_findings(description) + inspector.findings()


def _add_between(inspector: Inspector, first: Place, second: Place) -> None:
    if not 1 < second.z - first.z <= _LARGEST_GAP + 1:
        return
    reader = VolumeReader(inspector.description, first.volume)
    for z in range(first.z + 1, second.z):
        inspector.add(reader.read(z), "")


def voxel_findings(description: DataDescription) -> list[Finding]:
    """Report where a file has another voxel size than the description, by 1 % or more."""
    findings = []
    for index, volume in enumerate(description.volumes):
        try:
            file_size = open_stack(located(description.root, volume.image)).voxel_size
        except FibsegError:
            # Reading the slices reports this as an error.
            continue
        size = list(volume.voxel_size)
        if file_size is None or len(size) != 3:
            continue
        # Headers are rounded: 4.999 nm is 5 nm.
        if any(abs(a / b - 1) >= 0.01 for a, b in zip(size, file_size, strict=True)):
            text = (
                f"data.volumes[{index}].voxel_size: {size} nm, "
                f"but {volume.image} says {list(file_size)} nm."
            )
            findings.append(Finding("warning", text))
    return findings
