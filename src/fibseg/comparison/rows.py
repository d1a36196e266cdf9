"""Runs side by side: what is in their directories, as tables and contrasts. Reads files only; needs no network.

The unit of every statistic is the training run; see `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fibseg.runs.collection import Counts, FinishedRun, best_runs, configurations
from fibseg.scores.pixels import f1_scores, slices_with_class


def collapsed(runs: Sequence[FinishedRun], name: str) -> list[FinishedRun]:
    """Runs of one configuration whose validation F1 of a class is below half of its median."""
    scores = [run.f1("validation")[name] for run in runs]
    if not scores or np.all(np.isnan(scores)):
        return []
    middle = float(np.nanmedian(scores))
    return [run for run, score in zip(runs, scores, strict=True) if score < middle / 2]


@dataclass(frozen=True)
class ScoreRow:
    """One configuration and class on one split: every number that a table shows.

    Attributes:
        configuration, class_name: of the row.
        values: per-slice F1 of every run; `best` of the chosen ones.
        without: of all runs but the collapsed ones, and `seeds_collapsed`, which these are.
        pooled, iou, precision, recall: means over runs, of all pixels together.
        slices: that the mean is over.
        empty: false positive pixels on slices without the class, mean over runs.
    """

    configuration: str
    class_name: str
    values: list[float]
    best: list[float]
    without: list[float]
    seeds_collapsed: list[int]
    pooled: float
    iou: float
    precision: float
    recall: float
    slices: int
    empty: float


def score_rows(runs: Sequence[FinishedRun], split: str) -> list[ScoreRow]:
    """A row per configuration and foreground class of one data set."""
    rows = []
    for label, own in configurations(runs).items():
        best = best_runs(own)
        for index, name in enumerate(own[0].names[1:], 1):
            failed = collapsed(own, name)
            means = _means([_pooled(run.confusions[split], index) for run in own])
            row = ScoreRow(
                configuration=label,
                class_name=name,
                values=[run.f1(split)[name] for run in own],
                best=[run.f1(split)[name] for run in best],
                without=[run.f1(split)[name] for run in own if run not in failed],
                seeds_collapsed=[run.seed for run in failed],
                pooled=means[0],
                iou=means[1],
                precision=means[2],
                recall=means[3],
                slices=int(slices_with_class(own[0].confusions[split])[index]),
                empty=means[4],
            )
            rows.append(row)
    return rows


def _means(rows: Sequence[tuple[float, ...]]) -> list[float]:
    """Of each column, over the runs that have a number there: one that predicts nothing has no precision."""
    columns = [
        [value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True)
    ]
    return [math.fsum(column) / len(column) if column else math.nan for column in columns]


def _pooled(confusions: Counts, index: int) -> tuple[float, float, float, float, float]:
    """Pooled F1, IoU, precision, recall, and false positives on slices without the class."""
    total = confusions.sum(axis=0)
    hits, truth, predicted = total[index, index], total[index].sum(), total[:, index].sum()
    union = truth + predicted - hits
    absent = confusions[confusions[:, index].sum(axis=1) == 0]
    nan = math.nan
    return (
        float(f1_scores(total)[index]),
        hits / union if union else nan,
        hits / predicted if predicted else nan,
        hits / truth if truth else nan,
        float(absent[:, :, index].sum()),
    )
