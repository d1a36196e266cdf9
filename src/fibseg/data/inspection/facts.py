"""What an inspection keeps of a slice, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fibseg.arrays import IGNORE, Floats, Pixels, Place
from fibseg.data.grey import sample_slice
from fibseg.data.volume import AnnotatedSlice

_FEWEST_PIXELS = 20
"""Of a class, and of the rest, whose mean grey values say something."""


@dataclass(frozen=True)
class Finding:
    """A thing that a person should look at: "error", "warning" or "note", and a sentence."""

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
        grey: (n,) pixels that stand for its grey values, those under a mask left out.
        tissue: (n,) the same without padding.
        contrasts: of each class, background first: mean grey value less that of the other
            annotated pixels, in standard deviations; NaN where there are too few pixels.
        specks: components smaller than SPECK_PIXELS.
        repeated: whether its labels equal those of the slice before.
    """

    volume: int
    z: int
    split: str
    shares: tuple[float, ...]
    annotated: float
    grey: Pixels
    tissue: Pixels
    contrasts: tuple[float, ...]
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

    def name(self, volumes: int) -> str:
        """Name the slice in a message about a data set of so many volumes."""
        volume = f"volume {self.volume}, " if volumes > 1 else ""
        return f"{volume}{self.split + ' ' if self.split else ''}slice {self.z}"


def facts_of_slice(
    annotated_slice: AnnotatedSlice, split: str, classes: int, specks: int, repeated: bool
) -> SliceFacts:
    """Take the facts of a slice.

    Args:
        annotated_slice: image and labels.
        split: "" where the slice is annotated and in no split.
        classes: number of classes, with the background.
        specks: components smaller than SPECK_PIXELS.
        repeated: whether the labels are those of the slice before.
    """
    labels = annotated_slice.labels
    is_annotated = labels != IGNORE
    counts = np.bincount(labels[is_annotated], minlength=classes).astype(float)
    # A sample, since all pixels of a deep stack would not fit into memory.
    grey, tissue = sample_slice(annotated_slice.image, annotated_slice.in_mask)
    return SliceFacts(
        volume=annotated_slice.volume,
        z=annotated_slice.z,
        split=split,
        shares=tuple((counts / max(counts.sum(), 1.0)).tolist()),
        annotated=float(is_annotated.mean()),
        grey=grey,
        tissue=tissue,
        contrasts=_contrasts(annotated_slice, counts),
        specks=specks,
        repeated=repeated and bool(counts[1:].any()),
    )


def _contrasts(annotated_slice: AnnotatedSlice, counts: Floats) -> tuple[float, ...]:
    """Compute how much brighter each class is than the other annotated pixels, see SliceFacts."""
    labels = annotated_slice.labels
    image = annotated_slice.image
    contrasts = np.full(len(counts), np.nan)
    deviation = float(image[labels != IGNORE].std()) if counts.sum() else 0.0
    sums = np.bincount(labels.ravel(), weights=image.ravel(), minlength=IGNORE + 1)[: len(counts)]
    others = counts.sum() - counts
    # A few pixels may be bright or dark by accident.
    is_seen = (np.minimum(counts, others) >= _FEWEST_PIXELS) & (deviation > 0)
    means = sums[is_seen] / counts[is_seen]
    other_means = (sums.sum() - sums[is_seen]) / others[is_seen]
    contrasts[is_seen] = (means - other_means) / max(deviation, 1e-30)
    return tuple(contrasts.tolist())
