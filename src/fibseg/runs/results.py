"""Scores and metrics of a run: scores.json and metrics.csv, written and read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fibseg.arrays import Ints, Place
from fibseg.errors import DivergedError, FibsegError
from fibseg.files import write_whole
from fibseg.runs.directory import RunDirectory
from fibseg.runs.matches import read_matches
from fibseg.scores.pixels import f1_by_class
from fibseg.scores.slices import confusions_of

if TYPE_CHECKING:
    from fibseg.scores.instances import SplitMatches
    from fibseg.scores.slices import SplitScore

SCORES_SCHEMA = 1
"""Version of scores.json; a newer one is refused."""

START_EPOCH = -1
"""Epoch in metrics.csv of the weights that a run with `init_from` starts from.

Epochs count from 0 there, and from 1 for people, who see it as epoch 0.
"""

LOSSES = ("train_loss", "val_loss")
"""Columns of metrics.csv that are finite in every epoch of a training that works."""

# The order in which tables and charts show them.
SCORED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class RunScores:
    """The content of scores.json.

    Attributes:
        facts: of the run: model, filter, seed, hashes, versions and more.
        class_names: background first.
        confusions: split -> (S, K, K) pixels by class on each slice, rows truth.
        places: split -> where each slice lies.
        metrics: numbers of each epoch, from metrics.csv; [] where that is missing or damaged.
        objects: split -> matches of objects; {} where no class has objects.
    """

    facts: dict[str, Any]
    class_names: list[str]
    confusions: dict[str, Ints]
    places: dict[str, list[Place]]
    metrics: list[dict[str, float]] = field(default_factory=list)
    objects: dict[str, SplitMatches] = field(default_factory=dict)

    def f1(self, split: str) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class; NaN where no slice of the split holds it."""
        return f1_by_class(self.confusions[split], self.class_names)


def write_scores(
    run: RunDirectory,
    facts: dict[str, Any],
    class_names: Sequence[str],
    scores: dict[str, SplitScore],
) -> None:
    """Write scores.json, the last file of a run: with it the run is finished.

    `scores` are by split; the background is the first of the `class_names`.
    """
    splits = {split: score.slices for split, score in scores.items()}
    content = {
        "schema": SCORES_SCHEMA,
        "run": facts,
        "classes": list(class_names),
        "splits": splits,
    }
    objects = {split: score.objects for split, score in scores.items() if score.objects is not None}
    # Scores of data without objects stay as they were.
    if objects:
        content["instances"] = objects
    # Whole or not at all, because the mere presence of the file says that the run is finished.
    write_whole(run.scores, json.dumps(content) + "\n")


def read_scores(run: RunDirectory) -> RunScores:
    """Read scores.json of a finished run and check it.

    Raises:
        FibsegError: the file is missing, damaged or newer than this program.
        DivergedError: the loss of the run became no number.
    """
    # Before the scores: earlier versions scored such a run, at 0.
    metrics = check_not_diverged(run)
    if not run.scores.is_file():
        raise FibsegError(f"{run.path}: no scores.json; the run is not finished.")
    try:
        content = json.loads(run.scores.read_text(encoding="utf-8"))
        # First, since a newer file may have other keys.
        if content["schema"] != SCORES_SCHEMA:
            raise FibsegError(
                f"{run.scores}: schema {content['schema']}, but this fibseg reads {SCORES_SCHEMA}."
            )
        return _parsed(content, metrics)
    # OverflowError: JSON's 1e999 is infinity, which is no whole number.
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise FibsegError(f"{run.scores}: damaged ({error}).") from error


def _parsed(content: dict[str, Any], metrics: list[dict[str, float]]) -> RunScores:
    """The content of scores.json; ValueError, KeyError, TypeError or OverflowError if damaged."""
    splits = content["splits"]
    class_names = [str(name) for name in content["classes"]]
    confusions = {split: confusions_of(splits[split], len(class_names)) for split in SCORED_SPLITS}
    # Sums of negative counts could look sound, so that they are refused here.
    if any((counts < 0).any() for counts in confusions.values()):
        raise ValueError("negative counts")
    places = {
        split: [Place(int(score["volume"]), int(score["slice"])) for score in splits[split]]
        for split in SCORED_SPLITS
    }
    return RunScores(
        facts=dict(content["run"]),
        class_names=class_names,
        confusions=confusions,
        places=places,
        metrics=metrics,
        objects=read_matches(content.get("instances", {}), class_names),
    )


def mean_validation_f1(run: RunDirectory) -> float:
    """Mean over the classes of the validation F1, which a search over configurations raises.

    Raises:
        FibsegError: the run is not finished, or its scores.json is damaged.
    """
    # NaN is the F1 of a class that no validation slice holds: it has no part in the search.
    known = [f1 for f1 in read_scores(run).f1("validation").values() if not math.isnan(f1)]
    return float(np.mean(known)) if known else math.nan


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read metrics.csv: a dictionary of numbers per epoch, without the row of the start.

    Raises:
        ValueError: a row is cut off, as after a kill, or is no row of numbers.
    """
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
        # A missing value is None for the csv module, and a surplus one a list.
        except TypeError as error:
            raise ValueError(f"{path}: a row has too few or too many numbers") from error
    return [row for row in rows if row.get("epoch") != START_EPOCH]


def has_diverged(metrics: dict[str, float]) -> bool:
    """Whether a loss of an epoch is infinite or no number."""
    return not all(math.isfinite(metrics[name]) for name in LOSSES if name in metrics)


def check_not_diverged(run: RunDirectory) -> list[dict[str, float]]:
    """Read the epochs of a run, and look for one without a loss.

    Returns:
        The rows of metrics.csv; none where it is missing or damaged.

    Raises:
        DivergedError: there is one; the message says how to go on.
    """
    try:
        rows = read_metrics(run.metrics)
    # Forests have no epochs, and a damaged file says nothing of a loss.
    except (OSError, ValueError):
        return []
    diverged = next((row for row in rows if has_diverged(row)), None)
    if diverged is not None:
        raise divergence(run, diverged)
    return rows


def divergence(run: RunDirectory, metrics: dict[str, float]) -> DivergedError:
    """The error of a run that diverged in the epoch of these metrics."""
    losses = ", ".join(
        f"{name.replace('_', ' ')} {metrics[name]:g}" for name in LOSSES if name in metrics
    )
    return DivergedError(
        f"{run.path}: diverged in epoch {int(metrics['epoch']) + 1} ({losses}); train with a lower "
        "training.learning_rate, which makes another run, or delete this one to repeat it."
    )
