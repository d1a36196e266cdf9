"""Finished runs that are made by hand, with scores that can be worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

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
