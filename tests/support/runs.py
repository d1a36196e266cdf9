"""Finished runs that are made by hand, with scores that can be worked out by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fibseg.comparison.dataset import Dataset
from fibseg.runs.collection import collect
from fibseg.runs.components import COMPONENT_COLUMNS
from fibseg.runs.directory import RunDirectory
from fibseg.stack import write_pages


def confusion(f1: float, pixels: int = 10_000) -> list[list[int]]:
    """Confusion matrix of background and a class of so many pixels with this F1.

    False negatives are as many as false positives.
    """
    hits = round(f1 * pixels)
    return [[10 * pixels, pixels - hits], [pixels - hits, hits]]


def make_run(
    folder: Path,
    name: str,
    seed: int,
    validation: list[float],
    test: list[float],
    bare: bool = False,
    **changes: Any,
) -> Path:
    """Write a finished run of one class with these F1 per slice; gives its directory.

    Each slice has one component of the truth and one of the prediction; a bare run has none.
    """
    model, filtering = name.split("-")[:2]
    path = folder / f"{name}-s{seed}-{abs(hash(name)) % 16**8:08x}"
    path.mkdir(parents=True)
    classes = changes.pop("classes", ["background", "er"])
    facts = {
        "model": model,
        "filter": filtering,
        "seed": seed,
        "data": "cell",
        "config_hash": name,
        "data_hash": "d",
    }
    splits = {
        split: [
            {"volume": 0, "slice": z, "confusion": confusion(value)}
            for z, value in enumerate(values)
        ]
        for split, values in (("validation", validation), ("test", test))
    }
    content = {"schema": 1, "run": facts | changes, "classes": classes, "splits": splits}
    (path / "scores.json").write_text(json.dumps(content))
    with (path / "components.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COMPONENT_COLUMNS)
        for split, slices in ({} if bare else splits).items():
            for scores in slices:
                (_, _), (missed, hits) = scores["confusion"]
                for side in ("truth", "prediction"):
                    place = [split, 0, scores["slice"], content["classes"][1], side]
                    writer.writerow([*place, hits + missed, 0, 0, hits, 1])
    return path


def write_labels(path: Path, truth: list[np.ndarray], labels: list[np.ndarray]) -> None:
    """Of the test slices: beside a run, and in it."""
    folder = path.parent / "truth" / "d"
    write_pages(folder / "test-labels.tif", truth)
    splits = {"test": [{"volume": 0, "slice": z} for z in range(len(truth))]}
    (folder / "truth.json").write_text(
        json.dumps({"classes": ["background", "er"], "splits": splits})
    )
    write_pages(RunDirectory(path).labels("test"), labels)


def write_config(path: Path, voxel_size: list[float]) -> None:
    """The part of config.yaml that is read."""
    volumes = [{"voxel_size": voxel_size, "split": {"train": ["0:4:2", 9], "test": ["4:7"]}}]
    provenance = dict.fromkeys(
        ("config_hash", "data_hash", "threads", "precision", "tracking_id"), 0
    )
    (path / "config.yaml").write_text(
        yaml.safe_dump({"provenance": provenance, "data": {"volumes": volumes}})
    )


def change_scores(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of scores.json of a run."""
    content = json.loads((path / "scores.json").read_text())
    change(content)
    (path / "scores.json").write_text(json.dumps(content))


def add_components(path: Path, *rows: tuple[str, str, int, int, int]) -> None:
    """Add rows of split, of, area, overlap, touched to components.csv."""
    with (path / "components.csv").open("a", newline="") as file:
        for split, of, area, overlap, touched in rows:
            csv.writer(file).writerow([split, 0, 1, "er", of, area, 0, 0, overlap, touched])


def make_grid(folder: Path, seeds: int) -> None:
    """Two models with and without the filter, whose runs differ by seed.

    The filter adds .02 to the UNet and .05 to the other model.
    """
    means = {"unet-off": 0.80, "unet-on": 0.82, "eunet-off": 0.70, "eunet-on": 0.75}
    noise = np.random.default_rng(1).normal(0, 0.004, (4, seeds))
    for number, (name, mean) in enumerate(means.items()):
        for seed in range(seeds):
            make_run(folder, name, seed, [mean], [mean + noise[number, seed]])


def add_second_expert(folder: Path, labels: dict[int, np.ndarray]) -> None:
    """Add the labels of a second person on some z of volume 0 to the truth of `write_labels`."""
    truth = folder / "truth" / "d"
    write_pages(truth / "second_expert-labels.tif", list(labels.values()))
    content = json.loads((truth / "truth.json").read_text())
    content["splits"]["second_expert"] = [{"volume": 0, "slice": z} for z in labels]
    (truth / "truth.json").write_text(json.dumps(content))


def dataset_in(folder: Path) -> Dataset:
    """The runs in a folder, as the data set that they are of."""
    return Dataset(collect([folder]).runs)
