"""Runs with labels, images and a second expert, for figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fibseg.arrays import UInt8
from fibseg.stack import write_pages
from tests.support.runs import add_second_expert, make_run, write_config, write_labels

SHAPE = (40, 60)


def make_print_runs(folder: Path, truth: Sequence[UInt8] | None = None) -> None:
    """Two configurations of three runs on two slices; labels are the truth, moved by the seed."""
    generator = np.random.default_rng(0)
    if truth is None:
        truth = [np.zeros(SHAPE, np.uint8) for _ in range(2)]
        truth[0][8:20, 8:30] = 1
        truth[1][20:30, 40:60] = 1
    for name in ("unet-off", "unet-on"):
        for seed in range(3):
            path = make_run(folder, name, seed, [0.4 + 0.1 * seed], [0.5] * 2)
            moved = [np.roll(labels, seed + 1, axis=1) for labels in truth]
            write_labels(path, list(truth), moved)
            write_config(path, [20.0, 5.0, 5.0])
    images = [generator.integers(0, 255, SHAPE).astype(np.uint8) for _ in truth]
    write_pages(folder / "truth" / "d" / "test-images.tif", images)
    add_second_expert(folder, {1: np.roll(truth[1], 3, axis=0)})
