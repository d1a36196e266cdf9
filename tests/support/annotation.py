"""Annotation projects on a small image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fibseg.annotation import AnnotationProject, create_project, opened_project
from fibseg.stack import write_stack

SHAPE = (12, 40, 60)


def make_project(folder: Path, classes: tuple[str, ...] = ("er", "golgi")) -> Path:
    """Make a project on a random image of SHAPE; gives its folder."""
    image = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)
    write_stack(folder / "image.tif", image, [20, 5, 5])
    create_project(folder / "cell", "cell", str(folder / "image.tif"), classes)
    return folder / "cell"


@contextmanager
def new_project(folder: Path) -> Iterator[AnnotationProject]:
    """Open a new project."""
    with opened_project(make_project(folder)) as project:
        yield project


def stroke(value: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and reviewed mask (H, W) with a random box of a value, reviewed around it."""
    labels = np.zeros(SHAPE[1:], np.uint8)
    reviewed = np.zeros(SHAPE[1:], bool)
    y, x = generator.integers(2, 20, 2).tolist()
    labels[y : y + 5, x : x + 8] = value
    reviewed[y - 2 : y + 9, x - 2 : x + 12] = True
    return labels, reviewed
