"""What is wrong or doubtful in annotated slices, before anything is trained on them.

Slices are inspected one by one, in the order of z, so a stack of any depth needs the memory of a
few slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from fibseg.arrays import Place
from fibseg.data.description import SPLITS, DataDescription, class_names, instance_classes
from fibseg.data.inspection.facts import Finding, SliceFacts, facts_of_slice
from fibseg.data.inspection.grey_doubts import grey_doubts
from fibseg.data.inspection.leaks import SPECK_PIXELS, ObjectsAcrossSplits
from fibseg.data.inspection.objects import ObjectDoubts
from fibseg.data.volume import AnnotatedSlice

_MOST_SHARES = 2.5
"""How many times a class may fill one split as much as another."""


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
        self._doubts: dict[tuple[int, int], ObjectDoubts] = {}
        self._last_labels: tuple[Place, bytes] | None = None

    def add(self, annotated_slice: AnnotatedSlice, split: str) -> SliceFacts:
        """Inspect a slice; `split` is "" where it is annotated and in no split."""
        facts = facts_of_slice(
            annotated_slice,
            split,
            classes=len(self.names),
            specks=self._follow_objects(annotated_slice, split),
            repeated=self._repeats_last(annotated_slice),
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
        if annotated_slice.objects is not None:
            for name in instance_classes(self.description):
                index = self.names.index(name)
                key = annotated_slice.volume, index
                doubts = self._doubts.setdefault(key, ObjectDoubts(annotated_slice.volume, name))
                doubts.add(
                    annotated_slice.z, annotated_slice.objects, annotated_slice.labels == index
                )
        return specks

    def _repeats_last(self, annotated_slice: AnnotatedSlice) -> bool:
        """Whether the labels are those of the slice before; this slice becomes the last one."""
        volume, z = annotated_slice.place
        # The bytes of the last slice, since the caller may reuse or change the array.
        content = annotated_slice.labels.tobytes()
        repeats = self._last_labels == (Place(volume, z - 1), content)
        self._last_labels = Place(volume, z), content
        return repeats

    def findings(self) -> list[Finding]:
        """List every doubt as a sentence; none where there is no slice."""
        if not self.slices:
            return []
        texts = [
            *self._unannotated(),
            *self._missing_splits_and_classes(),
            *self._leaks(),
            *self._different_shares(),
            *grey_doubts(self.slices, self.description, self.names),
            *self._repeated_labels(),
            *self._specks(),
            *(text for doubts in self._doubts.values() for text in doubts.warnings()),
        ]
        notes = [text for doubts in self._doubts.values() for text in doubts.notes()]
        findings = [Finding("note", text) for text in notes]
        return findings + [Finding("warning", text) for text in texts]

    def _unannotated(self) -> Iterator[str]:
        """Report slices without foreground in a volume whose other slices have plenty."""
        for volume in {facts.volume for facts in self.slices}:
            used = [facts for facts in self.slices if facts.volume == volume and facts.split]
            # The median over slices with foreground: most slices of a sparse annotation are empty.
            foregrounds = [facts.foreground for facts in used if facts.foreground]
            usual = median(foregrounds) if foregrounds else 0.0
            for facts in used:
                name = facts.name(len(self.description.volumes))
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

    def _different_shares(self) -> Iterator[str]:
        """Report classes of which one split holds much more than the training slices."""
        shares = {
            split: np.mean([facts.shares for facts in self.slices if facts.split == split], axis=0)
            for split in SPLITS
            if any(facts.split == split for facts in self.slices)
        }
        for split in SPLITS[1:]:
            if "train" not in shares or split not in shares:
                continue
            pairs = zip(shares["train"].tolist(), shares[split].tolist(), strict=True)
            for name, (training, share) in list(zip(self.names, pairs, strict=True))[1:]:
                # A class that is absent is reported elsewhere.
                smaller = min(training, share)
                if smaller and max(training, share) / smaller > _MOST_SHARES:
                    yield (
                        f"class {name} fills {share:.2%} of the {split} slices and {training:.2%} "
                        "of the training slices; their scores will differ for that alone."
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

    def _repeated_labels(self) -> Iterator[str]:
        repeated = [facts for facts in self.slices if facts.repeated and facts.split]
        # A whole copied stack would hide all other findings.
        for facts in repeated[:5]:
            name = facts.name(len(self.description.volumes))
            yield f"{name} has the labels of the slice before: copied?"

    def _specks(self) -> Iterator[str]:
        specks = sum(facts.specks for facts in self.slices if facts.split)
        # Nobody has painted a phantom: a thin organelle may be cut in a spot, exactly.
        if specks and self.description.phantom is None:
            yield (
                f"{specks} labelled spots of fewer than {SPECK_PIXELS} pixels: "
                "accidental strokes of the brush?"
            )
