"""What the test slices share with the training slices: 3-D objects that run through both.

python -m benchmarks.shared_objects vnc DIR
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import ndimage

from fibseg.config import load_description
from fibseg.dataset import load_slices


def shared_objects(labels: np.ndarray, test: np.ndarray, train: np.ndarray, index: int) -> tuple[int, int, float]:
    """Objects of a class in the test slices, how many reach the training slices, and their share of its test pixels.

    Objects are 26-connected in (Z, H, W) labels. Slices that nobody labelled are not in between: the slices before and
    after a gap count as neighbours, so an object that runs through a gap is one.
    """
    objects, _ = ndimage.label(labels == index, structure=np.ones((3, 3, 3)))
    in_test = np.bincount(objects[test].ravel(), minlength=objects.max() + 1)
    in_test[0] = 0
    reaches = np.zeros(len(in_test), bool)
    reaches[np.unique(objects[train])] = True
    pixels = in_test[reaches].sum() / max(1, in_test.sum())
    return int((in_test > 0).sum()), int(((in_test > 0) & reaches).sum()), float(pixels)


def main(name: str, root: str) -> None:
    """Print a line per class, for each volume's slices in their order."""
    description = load_description(name)
    description.root = root
    slices = load_slices(description)
    splits_scored = ("train", "validation", "test")
    every = [(one.volume, one.z, split, one.labels) for split in splits_scored for one in slices[split]]
    every.sort(key=lambda entry: entry[:2])
    for volume in sorted({entry[0] for entry in every}):
        mine = [entry for entry in every if entry[0] == volume]
        labels, splits = np.stack([entry[3] for entry in mine]), np.array([entry[2] for entry in mine])
        for index, label in enumerate(description.classes, 1):
            objects, shared, pixels = shared_objects(labels, splits == "test", splits == "train", index)
            print(
                f"{name}, {label}: {shared} of {objects} 3-D objects of the test slices continue into the training "
                f"slices; they hold {pixels:.0%} of its test pixels"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
