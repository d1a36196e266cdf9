"""Scores of each configuration and class: the numbers behind the tables, and every one of them.

The unit of every statistic is the training run; see `inference`.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fibseg.arrays import Floats, Ints, Place
from fibseg.runs.collection import best_runs
from fibseg.runs.finished import FinishedRun
from fibseg.scores.pixels import class_counts, f1_scores, slices_with_class
from fibseg.spreadsheets import text_cell

TIDY_COLUMNS = (
    *("run", "configuration", "seed", "fold"),
    *("volume", "slice", "class", "metric", "value"),
)
"""Columns of the scores in long form."""

# The pixels, too: pooled scores of any choice of slices follow from their sums.
_TIDY_METRICS = (
    *("f1", "precision", "recall", "iou"),
    *("true_positives", "false_positives", "false_negatives"),
)


def collapsed_runs(runs: Sequence[FinishedRun], class_name: str) -> list[FinishedRun]:
    """Runs of one configuration whose training failed for a class.

    These have a validation F1 below half of the upper quartile over the runs, which stays where it
    is when most of them collapse. The test slices play no part, so that leaving such runs out does
    not choose by the result.
    """
    scores = [run.f1("validation")[class_name] for run in runs]
    # A class may be in no validation slice; a quantile of NaN alone would warn.
    if not scores or np.all(np.isnan(scores)):
        return []
    # A score that a run has, so that of two or three runs one that stands is enough.
    upper = float(np.nanquantile(scores, 0.75, method="higher"))
    # Seeds differ by a few hundredths; half of a good score is far outside of that.
    return [run for run, score in zip(runs, scores, strict=True) if score < upper / 2]


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one configuration and class on one split.

    Attributes:
        configuration: name of the configuration.
        class_name: name of the class.
        f1: mean per-slice F1 of every run.
        best_f1: the same of the best two thirds of the runs; see `best_runs`.
        standing_f1: the same of all runs but the collapsed ones.
        collapsed_seeds: seeds of the collapsed runs.
        pooled_f1: F1 of the pixels of all slices together, mean over runs.
        iou: intersection over union of all pixels together, mean over runs.
        precision: of all pixels together, mean over the runs that predict the class.
        recall: of all pixels together, mean over runs.
        slices: number of slices that hold the class: the mean of `f1` is over these.
        false_pixels: predicted pixels on slices without the class, mean over runs.
    """

    configuration: str
    class_name: str
    f1: list[float]
    best_f1: list[float]
    standing_f1: list[float]
    collapsed_seeds: list[int]
    pooled_f1: float
    iou: float
    precision: float
    recall: float
    slices: int
    false_pixels: float


def score_rows(configurations: Mapping[str, Sequence[FinishedRun]], split: str) -> list[ScoreRow]:
    """A row for each configuration and foreground class of one data set."""
    return [
        _score_row(label, runs, class_name, split)
        for label, runs in configurations.items()
        for class_name in runs[0].class_names[1:]
    ]


def _score_row(label: str, runs: Sequence[FinishedRun], class_name: str, split: str) -> ScoreRow:
    index = runs[0].class_names.index(class_name)
    collapsed = collapsed_runs(runs, class_name)
    # Pooled like the F1 of Ilastik in the paper; a mean over slices weighs each of them alike.
    pooled = [_pooled_scores(run.confusions[split], index) for run in runs]
    pooled_f1, iou, precision, recall, false_pixels = _column_means(pooled)
    return ScoreRow(
        configuration=label,
        class_name=class_name,
        f1=[run.f1(split)[class_name] for run in runs],
        # Best by the sum over classes, so that every class has the same runs, as in the paper.
        best_f1=[run.f1(split)[class_name] for run in best_runs(runs)],
        standing_f1=[run.f1(split)[class_name] for run in runs if run not in collapsed],
        collapsed_seeds=[run.seed for run in collapsed],
        pooled_f1=pooled_f1,
        iou=iou,
        precision=precision,
        recall=recall,
        # All runs of a data set were scored on the same slices: any of them knows the number.
        slices=int(slices_with_class(runs[0].confusions[split])[index]),
        false_pixels=false_pixels,
    )


def _column_means(rows: Sequence[tuple[float, ...]]) -> list[float]:
    """Mean of each column over the runs that have a number there.

    A run that predicts nothing of a class has no precision, and is in no mean of it.
    """
    columns = [
        [value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True)
    ]
    # fsum rounds once, so that the order of the runs changes no digit of a table.
    return [math.fsum(column) / len(column) if column else math.nan for column in columns]


def _pooled_scores(confusions: Ints, index: int) -> tuple[float, float, float, float, float]:
    """Pooled F1, IoU, precision, recall, and false positives on slices without the class."""
    total = confusions.sum(axis=0)
    # Rows are the truth, columns the prediction.
    hits = total[index, index]
    truth = total[index].sum()
    predicted = total[:, index].sum()
    union = truth + predicted - hits
    # The per-slice F1 leaves these slices out, so that their false positives are counted apart.
    without_class = confusions[confusions[:, index].sum(axis=1) == 0]
    return (
        float(f1_scores(total)[index]),
        hits / union if union else math.nan,
        hits / predicted if predicted else math.nan,
        hits / truth if truth else math.nan,
        float(without_class[:, :, index].sum()),
    )


def tidy_csv(configurations: Mapping[str, Sequence[FinishedRun]]) -> str:
    """Every score of every run on the test slices in long form, as CSV with TIDY_COLUMNS.

    Rows without volume and slice hold the scores of all test slices together. A value is empty
    where it is no number: a class has no F1 and no recall on a slice that does not hold it, and no
    precision where it is not predicted.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TIDY_COLUMNS)
    for label, runs in configurations.items():
        for run in runs:
            confusions = run.confusions["test"]
            pooled = confusions.sum(axis=0, keepdims=True)
            # Without the background, which is in no table.
            counts = class_counts(np.concatenate([confusions, pooled]))[:, 1:]
            places = [(str(place.volume), str(place.z)) for place in run.places["test"]]
            names = [text_cell(name) for name in run.class_names[1:]]
            # In the order in which the values lie in memory: slice, class, metric.
            keys = itertools.product([*places, ("", "")], names, _TIDY_METRICS)
            head = (text_cell(run.path.name), text_cell(label), run.seed, run.fold)
            writer.writerows(
                (*head, *place, name, metric, value)
                for (place, name, metric), value in zip(keys, _tidy_values(counts), strict=True)
            )
    return text.getvalue()


def _tidy_values(counts: Ints) -> list[Any]:
    """Values of _TIDY_METRICS, one after the other, of counts (S, K, 3); None for no number."""
    hits, false_positives, false_negatives = np.moveaxis(counts, -1, 0)
    truth = hits + false_negatives
    predicted = hits + false_positives
    quotients = [
        # As `f1_scores`: where the truth lacks the class, there is none.
        (2 * hits, np.where(truth > 0, truth + predicted, 0)),
        (hits, predicted),
        (hits, truth),
        (hits, truth + false_positives),
    ]
    scores = [
        np.where(divisor > 0, (number / np.maximum(divisor, 1)).astype(object), None)
        for number, divisor in quotients
    ]
    return list(np.concatenate([np.stack(scores, -1), counts.astype(object)], axis=-1).ravel())


def mean_by_volume(by_slice: Floats, places: Sequence[Place]) -> dict[int, float]:
    """Compute the mean of values (S,) over the slices of each volume that has any; NaN is none."""
    volume_of_slice = np.array([place.volume for place in places])
    means = {}
    for volume in sorted({place.volume for place in places}):
        of_volume = by_slice[volume_of_slice == volume]
        # The mean of NaN alone would be a warning.
        if not np.isnan(of_volume).all():
            means[volume] = float(np.nanmean(of_volume))
    return means
