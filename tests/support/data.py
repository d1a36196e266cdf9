"""The tiny phantom data set: its shape, its split and its description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    VolumeDescription,
)

SHAPE = (9, 96, 96)


SPLIT = {"train": ["0:4"], "validation": ["4:6"], "test": [7, 8]}


def describe(root: Path, volume: dict[str, Any] | None = None, **changes: Any) -> DataDescription:
    """A description of the phantom folder, with some values changed."""
    classes = {
        name: ClassDescription(i, 1.0)
        for i, name in enumerate(("mitochondrion", "membrane", "er"), 1)
    }
    entry = {
        "image": "image.tif",
        "labels": "labels.tif",
        "voxel_size": [20, 5, 5],
        "split": dict(SPLIT),
    }
    values: dict[str, Any] = {
        "name": "tiny",
        "root": str(root),
        "classes": classes,
        "background": BackgroundDescription([0], 0.1),
        "ignore": None,
        "intensity": IntensityDescription(0.1, 99.9),
        "volumes": [VolumeDescription(**(entry | (volume or {})))],
        "phantom": None,
    }
    return DataDescription(**(values | changes))


TINY = """
name: tiny
root: data/tiny
classes:
  mitochondrion: {label: 1, weight: 0.7}
  membrane: {label: 2, weight: 1.0}
  er: {label: 3, weight: 0.9}
background: {labels: [0], weight: 0.1}
ignore: null
intensity: {low: 0.1, high: 99.9}
volumes:
  - image: image.tif
    labels: labels.tif
    voxel_size: [20, 5, 5]
    split: {train: ["0:4"], validation: ["4:6"], test: [7, 8]}
phantom: null
"""
