"""Runs with pictures, for the pages and galleries that show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fibseg.arrays import IGNORE
from fibseg.runs.directory import RunDirectory
from fibseg.stack import write_pages
from tests.support.runs import make_run


def make_page_runs(folder: Path, pictures: bool, shape: tuple[int, int] = (40, 50)) -> None:
    """Three configurations of three seeds on four test slices, of a class with an awkward name."""
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 2, shape).astype(np.uint8) for _ in range(4)]
    truth[0][:3] = IGNORE
    for name, f1 in (("unet-off", 0.7), ("unet-on", 0.8), ("eunet-on-x", 0.6)):
        for seed in range(3):
            path = make_run(
                folder,
                name,
                seed,
                validation=[f1] * 2,
                test=[f1 + seed / 100] * 4,
                classes=["background", "<b>er$x$"],
            )
            rows = [f"{epoch},{0.5 - epoch / 10},{0.2 + epoch / 10}" for epoch in range(3)]
            (path / "metrics.csv").write_text("\n".join(["epoch,val_loss,val_f1", *rows, ""]))
            if pictures:
                labels = [
                    np.where(generator.random(shape) < 0.1, 1 - page % 2, page % 2).astype(np.uint8)
                    for page in truth
                ]
                write_pages(RunDirectory(path).labels("test"), labels)
    if pictures:
        image = generator.integers(0, 255, shape).astype(np.uint8)
        write_pages(folder / "truth" / "d" / "test-images.tif", [image] * 4)
        write_pages(folder / "truth" / "d" / "test-labels.tif", truth)
