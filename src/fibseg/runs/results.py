"""Scores and metrics of a run: scores.json and metrics.csv, written and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fibseg.files import write_whole
from fibseg.runs.directory import RunDirectory
from fibseg.scores.pixels import mean_f1
from fibseg.scores.slices import SplitScore

if TYPE_CHECKING:  # a finished run is reported without torch
    pass
import csv
import json

from fibseg.errors import FibsegError


def final_scores(directory: RunDirectory) -> dict[str, dict[str, float]]:
    """`f1_by_class` of scores.json."""
    return f1_by_class(read_scores(directory))


def f1_by_class(content: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean per-slice F1, split -> class -> score, from what scores.json holds or will hold."""
    counts = split_counts(content)
    return {
        s: dict(zip(content["classes"][1:], mean_f1(c)[1:].tolist(), strict=True))
        for s, c in counts.items()
    }


def split_counts(content: dict[str, Any]) -> dict[str, NDArray[np.int64]]:
    """Confusion counts (slices, K, K) by split, from what scores.json holds."""
    found = {s: [one["confusion"] for one in content["splits"][s]] for s in SCORED_SPLITS}
    k = len(content["classes"])
    return {
        split: np.array(confusions, np.int64).reshape(-1, k, k)
        for split, confusions in found.items()
    }


def mean_validation_f1(directory: RunDirectory) -> float:
    """Mean over the classes of the per-slice F1 of the validation slices: what a search over configurations raises."""
    return float(np.nanmean(list(final_scores(directory)["validation"].values())))


SCHEMA = 1
"""Of scores.json; a newer one is refused."""

SCORED_SPLITS = ("validation", "test")


def write_scores(
    run: RunDirectory, facts: dict[str, Any], names: Sequence[str], scores: dict[str, SplitScore]
) -> None:
    """scores.json, the last file of a run: with it the run is finished."""
    splits = {split: score.slices for split, score in scores.items()}
    content = {"schema": SCHEMA, "run": facts, "classes": list(names), "splits": splits}
    write_whole(run.scores, json.dumps(content) + "\n")


def read_scores(run: RunDirectory) -> dict[str, Any]:
    """scores.json of a finished run; FibsegError where it is missing, damaged or newer than this program."""
    if not run.scores.is_file():
        raise FibsegError(f"{run.path}: no scores.json; the run is not finished.")
    try:
        content = json.loads(run.scores.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise FibsegError(
                f"{run.scores}: schema {content['schema']}, but this fibseg reads {SCHEMA}."
            )
        splits, classes = content["splits"], len(content["classes"])
        shapes = {
            np.array(one["confusion"]).shape for split in SCORED_SPLITS for one in splits[split]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise FibsegError(f"{run.scores}: damaged ({error}).") from error
    if shapes - {(classes, classes)}:
        raise FibsegError(
            f"{run.scores}: damaged (counts of shape {shapes} for {classes} classes)."
        )
    return dict(content)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of metrics.csv as numbers; ValueError where one is cut off."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
        except TypeError as error:
            raise ValueError(f"{path}: a row has too few or too many numbers") from error
