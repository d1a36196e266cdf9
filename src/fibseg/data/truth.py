"""The scored slices of a data set, kept once beside all of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.data.volume import AnnotatedSlice
from fibseg.files import write_whole
from fibseg.stack import write_pages

_SHOWN_RANGE = IntensityDescription(0.1, 99.9)
"""Percentiles that become black and white: the images of all runs look alike, whatever the grey
range that a run was trained with."""


def write_truth(
    folder: Path, slices: dict[str, list[AnnotatedSlice]], class_names: Sequence[str]
) -> None:
    """Write the scored slices of a data set once for all of its runs; do nothing if they exist.

    Args:
        folder: gets 8-bit images and class indices of each split, a page per slice, and truth.json
            with the class names and the volume and slice of each page.
        slices: of every split; those of "train" give the grey range and are not written.
        class_names: background first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Runs of a sweep may finish at the same time.
    with FileLock(folder / ".lock"):
        # Asked under the lock: another run may have written it in the meantime.
        if (folder / "truth.json").exists():
            return
        grey = grey_range([annotated.grey_values for annotated in slices["train"]], _SHOWN_RANGE)
        # Training slices are not shown: no run is judged by them.
        scored = {
            split: of_split for split, of_split in slices.items() if split != "train" and of_split
        }
        for split, of_split in scored.items():
            images = [to_8bit(annotated.image, grey) for annotated in of_split]
            write_pages(folder / f"{split}-images.tif", images)
            write_pages(
                folder / f"{split}-labels.tif", [annotated.labels for annotated in of_split]
            )
        places = {
            split: [{"volume": annotated.volume, "slice": annotated.z} for annotated in of_split]
            for split, of_split in scored.items()
        }
        content = {"classes": list(class_names), "splits": places}
        # Last: with it the folder is complete.
        write_whole(folder / "truth.json", json.dumps(content) + "\n")
