"""The labels of a second person for some of the test slices, from truth/ beside the runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fibseg.arrays import Ints, Place, UInt8
from fibseg.scores.pixels import confusion_counts
from fibseg.stack import read_pages


@dataclass(frozen=True)
class ExpertLabels:
    """The test slices that a second person annotated, with the labels of both persons.

    Attributes:
        places: where the slices lie, S of them.
        truth: labels (H, W) of the first person, who is scored against.
        labels: labels (H, W) of the second person.
    """

    places: list[Place]
    truth: list[UInt8]
    labels: list[UInt8]

    @property
    def label_pairs(self) -> list[tuple[UInt8, UInt8]]:
        """Labels of the first and of the second person, slice by slice."""
        return list(zip(self.truth, self.labels, strict=True))

    def confusions(self, classes: int) -> Ints:
        """Confusion counts (S, K, K) of the second person against the first, for K classes."""
        return np.stack([confusion_counts(*pair, classes) for pair in self.label_pairs])


def read_expert_labels(truth: Path, test_places: Sequence[Place]) -> ExpertLabels | None:
    """Read the labels of the second person from a folder of truth.

    Args:
        truth: folder with truth.json, test-labels.tif and second_expert-labels.tif.
        test_places: the test slices, in the order of test-labels.tif.

    Returns:
        None where no second person annotated a test slice, or a file is damaged: a comparison is
        complete without one.
    """
    try:
        splits = json.loads((truth / "truth.json").read_text(encoding="utf-8"))["splits"]
        annotated = [
            Place(int(entry["volume"]), int(entry["slice"]))
            for entry in splits.get("second_expert", [])
        ]
        # A description may name slices of any split; only test slices have scores of runs.
        places = [place for place in annotated if place in test_places]
        if not places:
            return None
        # Pages and not whole files: there is a slice or two among many.
        first = read_pages(
            truth / "test-labels.tif", [test_places.index(place) for place in places]
        )
        second = read_pages(
            truth / "second_expert-labels.tif", [annotated.index(place) for place in places]
        )
    # What a damaged file raises depends on where it is damaged.
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    # Labels of another crop cannot be compared pixel by pixel.
    if any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
        return None
    return ExpertLabels(places, first, second)
