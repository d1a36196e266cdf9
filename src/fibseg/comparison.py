"""Runs side by side: what is in their directories, as tables and contrasts. Reads files only; needs no network.

The unit of every statistic is the training run; see `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.metrics import f1_scores, mean_f1, slices_with_class

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: its directory.
        configuration: its name without seed and hash, as unet-on-quick.
        key: hashes of configuration and data: runs with one key differ in the seed only.
        data: name of the data set, and `data_hash`, of its pixels and labels.
        facts: of scores.json: model, filter, seed and more.
        names: of the classes, background first.
        confusions: split -> (S, K, K) counts per slice, rows truth.
        places: split -> (volume, slice) of each.
    """

    path: Path
    configuration: str
    key: tuple[str, str]
    data: str
    data_hash: str
    facts: dict[str, Any]
    names: list[str]
    confusions: dict[str, Counts]
    places: dict[str, list[tuple[int, int]]]

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.facts["seed"])

    def f1(self, split: str) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class; NaN where no slice holds it."""
        return dict(zip(self.names[1:], mean_f1(self.confusions[split])[1:].tolist(), strict=True))

    def f1_by_slice(self, split: str) -> NDArray[np.float64]:
        """(S, K); NaN where the slice does not hold the class."""
        return f1_scores(self.confusions[split])

    def on_slices(self, split: str, places: Sequence[tuple[int, int]]) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class over some (volume, slice) of a split."""
        chosen = [self.places[split].index(place) for place in places]
        return dict(zip(self.names[1:], mean_f1(self.confusions[split][chosen])[1:].tolist(), strict=True))

    @property
    def validation_sum(self) -> float:
        """Sum of the validation F1 over the foreground classes, by which the paper chose its runs."""
        return float(np.nansum(list(self.f1("validation").values())))


def configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Label -> runs of one configuration, in order of seed; a hash tells apart what a name does not."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    labels: dict[str, list[Run]] = {}
    names = [own[0].configuration for own in groups.values()]
    for key, own in groups.items():
        name = own[0].configuration
        label = name if names.count(name) == 1 else f"{name}-{key[0]}"
        labels[label] = sorted(own, key=lambda run: run.seed)
    return dict(sorted(labels.items()))


def chosen(runs: Sequence[Run]) -> list[Run]:
    """The best ceil(2n / 3) by the sum of validation scores, 10 of 15 as the paper has it; ties by seed."""
    ordered = sorted(runs, key=lambda run: (-run.validation_sum, run.seed))
    return ordered[: math.ceil(2 * len(runs) / 3)]


def median_run(runs: Sequence[Run]) -> Run:
    """The one to show: in the middle by the sum of validation scores."""
    return sorted(runs, key=lambda run: (run.validation_sum, run.seed))[len(runs) // 2]


def collapsed(runs: Sequence[Run], name: str) -> list[Run]:
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


def score_rows(runs: Sequence[Run], split: str) -> list[ScoreRow]:
    """A row per configuration and foreground class of one data set."""
    rows = []
    for label, own in configurations(runs).items():
        best = chosen(own)
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
    columns = [[value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True)]
    return [math.fsum(column) / len(column) if column else math.nan for column in columns]


def _pooled(confusions: Counts, index: int) -> tuple[float, float, float, float, float]:
    """Pooled F1, IoU, precision, recall, and false positives on slices without the class."""
    total = confusions.sum(axis=0)
    hits, truth, predicted = total[index, index], total[index].sum(), total[:, index].sum()
    union = truth + predicted - hits
    absent = confusions[confusions[:, index].sum(axis=1) == 0]
    nan = math.nan
    return (
        float(f1_scores(total)[index]), hits / union if union else nan, hits / predicted if predicted else nan,
        hits / truth if truth else nan, float(absent[:, :, index].sum()),
    )  # fmt: skip
