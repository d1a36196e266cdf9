"""A survey of all annotated slices of a data description: errors, doubts, and which slices to show.

Errors are collected and not raised, so that a person sees all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fibseg.arrays import Place
from fibseg.data.description import SPLITS, DataDescription, check_description, class_names
from fibseg.data.folds import with_fold
from fibseg.data.grey import GreyRange, slice_percentiles
from fibseg.data.identity import SliceOwners, image_identity
from fibseg.data.inspection.facts import Finding, SliceFacts
from fibseg.data.inspection.grey_doubts import sampled_grey_range, too_few_levels
from fibseg.data.inspection.inspector import Inspector
from fibseg.data.labels.pairing import same_sizes, size_text
from fibseg.data.slices import provide_phantom, read_second_expert
from fibseg.data.splits import split_of, split_positions
from fibseg.data.volume import AnnotatedSlice, VolumeReader
from fibseg.errors import FibsegError

_LARGEST_GAP = 5
"""Slices between two that are used, up to which a training reads them to follow objects."""

_SIMILAR_VOXELS = 0.1
"""Share by which voxels of two volumes may differ, as predict.py has it."""

_SLICES_TO_SHOW = 8
"""Of each volume, and as many again that look unannotated."""

_MOST_UNREADABLE_SLICES = 8
"""Of a volume; after so many errors its further slices are not read."""

_UNKNOWN_GREY_RANGE = GreyRange(0.0, 1.0)

SurveyReport = Callable[[int, int, int], None]
"""Called with (index of the volume, slices of it done, slices of it in all)."""


@dataclass(frozen=True)
class Survey:
    """What a survey of all annotated slices gives.

    Attributes:
        findings: errors first, then doubts.
        names: of the classes, background first.
        slices: facts of every slice that was read, also of those in no split.
        grey_range: grey values that become 0 and 255; 0 to 1 where the training slices have none.
        places_to_show: slices that a person should see with their labels.
    """

    findings: list[Finding]
    names: list[str]
    slices: list[SliceFacts]
    grey_range: GreyRange
    places_to_show: list[Place]

    @property
    def errors(self) -> list[Finding]:
        """Findings that stop a training."""
        return [finding for finding in self.findings if finding.level == "error"]


def survey(description: DataDescription, report: SurveyReport | None = None) -> Survey:
    """Inspect every annotated slice of a data description, also those in no split."""
    try:
        check_description(description)
        # A synthetic cell is data like any other once its files exist.
        provide_phantom(description)
        if not description.volumes:
            raise FibsegError("data.volumes: empty; expected at least one volume.")
        description = with_fold(description)
    except FibsegError as error:
        finding = Finding("error", str(error))
        return Survey(
            findings=[finding],
            names=class_names(description),
            slices=[],
            grey_range=_UNKNOWN_GREY_RANGE,
            places_to_show=[],
        )
    surveyor = _Surveyor(description, report)
    for index in range(len(description.volumes)):
        surveyor.read_volume(index)
    return surveyor.result()


class _Surveyor:
    """What a survey has collected so far."""

    def __init__(self, description: DataDescription, report: SurveyReport | None):
        self._description = description
        self._report = report
        self._inspector = Inspector(description)
        self._owners = SliceOwners(description)
        self._errors: list[str] = []
        self._places_to_show: list[Place] = []

    def read_volume(self, index: int) -> None:
        """Inspect the slices of one volume."""
        volume = self._description.volumes[index]
        try:
            reader = VolumeReader(self._description, index)
            positions = split_positions(volume, reader, f"data.volumes[{index}]")
            # Only for its errors: the second expert's labels are not trained on.
            if volume.second_expert is not None:
                read_second_expert(self._description, index)
        except FibsegError as error:
            self._errors.append(str(error))
            return
        self._read_slices(index, reader, positions)

    def _read_slices(
        self, index: int, reader: VolumeReader, positions: Mapping[str, Sequence[int]]
    ) -> None:
        """Inspect all slices; objects may continue through those in no split."""
        used = sorted({z for split_slices in positions.values() for z in split_slices})
        evenly_spaced = _evenly_spaced(used, _SLICES_TO_SHOW)
        empty_slices = 0
        failed_slices = 0
        for done, z in enumerate(reader.annotated):
            if self._report is not None:
                self._report(index, done, len(reader.annotated))
            split = split_of(positions, z)
            try:
                annotated_slice = reader.read(z)
            except FibsegError as error:
                # Nobody trains on a slice in no split, so what is wrong with it is no error.
                if not split:
                    continue
                failed_slices += 1
                self._errors.append(str(error))
                # A folder of damaged files would fill the page with one and the same error.
                if failed_slices == _MOST_UNREADABLE_SLICES:
                    self._errors[-1] += " Further slices were not read."
                    return
                continue
            conflict = self._owners.conflict(annotated_slice, split) if split else None
            if conflict is not None:
                self._errors.append(conflict)
            facts = self._inspector.add(annotated_slice, split)
            # The slices that a person has to judge: unannotated, or really without organelles?
            is_empty = bool(split) and facts.foreground == 0
            empty_slices += is_empty
            if z in evenly_spaced or (is_empty and empty_slices <= _SLICES_TO_SHOW):
                self._places_to_show.append(facts.place)

    def result(self) -> Survey:
        """Collect the findings over all volumes."""
        inspector = self._inspector
        percentiles = slice_percentiles(self._description.intensity)
        grey_range = sampled_grey_range(inspector.slices, self._description.intensity)
        # With a volume that was not read, what is missing may be there.
        errors = self._errors or _missing(inspector)
        findings = [Finding("error", text) for text in errors]
        findings += _volume_findings(self._description)
        findings += inspector.findings()
        findings += _copied_images(self._description, inspector.slices)
        return Survey(
            findings=findings,
            names=inspector.names,
            slices=inspector.slices,
            grey_range=replace(grey_range or _UNKNOWN_GREY_RANGE, percentiles=percentiles),
            places_to_show=self._places_to_show,
        )


def _missing(inspector: Inspector) -> list[str]:
    """Report what a training refuses: a split, a contrast or a class that is missing."""
    errors = []
    for split in ("train", "validation"):
        if not any(facts.split == split for facts in inspector.slices):
            errors.append(f"data: no slice in the {split} split; every description needs one.")
    training = [facts for facts in inspector.slices if facts.split == "train"]
    # Said above already; grey values and classes of no slice would repeat it.
    if not training:
        return errors
    if sampled_grey_range(training, inspector.description.intensity) is None:
        errors.append("data.intensity: the training slices have one grey value only.")
    if (few := too_few_levels(inspector.slices, inspector.description)) is not None:
        errors.append(few)
    for index, name in enumerate(inspector.names[1:], 1):
        if not any(facts.shares[index] for facts in training):
            errors.append(f"data: class {name} does not occur in the training slices.")
    return errors


def _evenly_spaced(positions: Sequence[int], count: int) -> set[int]:
    """Choose some of the positions, first and last among them.

    >>> sorted(_evenly_spaced([0, 10, 20, 30, 40], 3))
    [0, 20, 40]
    """
    if not positions:
        return set()
    last = len(positions) - 1
    return {positions[round(k * last / max(1, count - 1))] for k in range(count)}


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
    findings = _volume_findings(description) + inspector.findings()
    return findings + _copied_images(description, inspector.slices)


def _add_between(inspector: Inspector, first: Place, second: Place) -> None:
    if not 1 < second.z - first.z <= _LARGEST_GAP + 1:
        return
    reader = VolumeReader(inspector.description, first.volume)
    for z in range(first.z + 1, second.z):
        # This reader deals out other numbers of objects.
        inspector.add(replace(reader.read(z), objects=None), "")


def _volume_findings(description: DataDescription) -> list[Finding]:
    """Report what is odd in the files of the volumes, and what they contradict.

    Files that cannot be opened are left to the reading of their slices.
    """
    findings = []
    for index, volume in enumerate(description.volumes):
        with suppress(FibsegError):
            reader = VolumeReader(description, index)
            findings += [Finding("note", text) for text in reader.notes]
            findings += [Finding("warning", text) for text in reader.doubts]
            file_size = reader.image.voxel_size
            if file_size is not None and not same_sizes(volume.voxel_size, file_size):
                text = (
                    f"data.volumes[{index}].voxel_size: {list(volume.voxel_size)} nm, "
                    f"but {volume.image} says {list(file_size)} nm."
                )
                findings.append(Finding("warning", text))
    first, *others = [list(volume.voxel_size) for volume in description.volumes]
    for index, size in enumerate(others, 1):
        if len(size) == len(first) == 3 and not same_sizes(first, size, _SIMILAR_VOXELS):
            text = (
                f"volume {index} has voxels of {size_text(size)} nm and volume 0 of "
                f"{size_text(first)} nm; a network sees pixels, so bring them to one size."
            )
            findings.append(Finding("warning", text))
    return findings


def _copied_images(description: DataDescription, slices: Sequence[SliceFacts]) -> list[Finding]:
    """Report test slices beside training slices of another entry of the same image."""
    volumes = sorted({facts.volume for facts in slices})
    if len(volumes) < 2:
        return []
    identity = {volume: image_identity(description, volume) for volume in volumes}
    training = {(identity[f.volume], f.z): f.volume for f in slices if f.split == "train"}
    beside: dict[tuple[int, int], int] = {}
    for facts in slices:
        for z in (facts.z - 1, facts.z + 1):
            neighbour = training.get((identity[facts.volume], z), facts.volume)
            if facts.split == "test" and neighbour != facts.volume:
                beside[facts.volume, neighbour] = beside.get((facts.volume, neighbour), 0) + 1
    return [
        Finding(
            "warning",
            f"volumes {first} and {second} are the same image, and {count} test slices of volume "
            f"{first} lie beside training slices of volume {second}; leave slices between.",
        )
        for (first, second), count in beside.items()
    ]
