"""The scored slices of a data set, kept once beside all of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import grey_range, to_8bit
from fibseg.data.slices import AnnotatedSlice
from fibseg.files import write_whole
from fibseg.stack import write_pages


def write_truth(
    folder: Path, slices: dict[str, list[AnnotatedSlice]], names: Sequence[str]
) -> None:
    """The scored slices once for all runs of a data set: 8-bit images, class indices, and truth.json beside them.

    Images are shown in a grey window of their own (.1 and 99.9 percentiles of the training slices), whatever the run
    was trained with. truth.json names the classes and gives volume and slice of each page; written last. Runs that end
    at once take turns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if (folder / "truth.json").exists():
            return
        window = grey_range([one.image for one in slices["train"]], IntensityDescription(0.1, 99.9))
        pages = {split: found for split, found in slices.items() if split != "train" and found}
        for split, found in pages.items():
            write_pages(
                folder / f"{split}-images.tif", [to_8bit(one.image, window) for one in found]
            )
            write_pages(folder / f"{split}-labels.tif", [one.labels for one in found])
        places = {
            split: [{"volume": one.volume, "slice": one.z} for one in found]
            for split, found in pages.items()
        }
        write_whole(
            folder / "truth.json", json.dumps({"classes": list(names), "splits": places}) + "\n"
        )
