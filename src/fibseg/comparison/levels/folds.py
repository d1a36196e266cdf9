"""The same contrasts on the test slices of each fold: how far, how often and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.contrast_tables import interval_cells, signed_score
from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import Interval
from fibseg.comparison.inference.intervals import fold_interval, improvement_probability
from fibseg.comparison.text import Table
from fibseg.runs.finished import FinishedRun

FOLDS_FOR_INTERVAL = 6
"""Folds from which an interval over them is given: with fewer, they are listed."""


def fold_tables(dataset: Dataset) -> list[Table]:
    """The tables of all folds, which stand with the first of them; none for any other data set."""
    if not dataset.other_folds:
        return []
    folds = [dataset, *dataset.other_folds]
    tables = [_rank_table(folds)]
    if dataset.contrasts:
        tables = [_contrast_table(folds), _improvement_table(folds), *tables]
    return tables


def _name_of(folds: Sequence[Dataset]) -> str:
    """Name of the data set without the number of the fold."""
    run = folds[0].runs[0]
    return f"{folds[0].name.rpartition('-fold')[0]}-{run.facts['folds']}folds"


def _folds_text(folds: Sequence[Dataset]) -> str:
    """Which folds have finished runs, of how many."""
    numbers = [dataset.runs[0].fold for dataset in folds]
    count = folds[0].runs[0].facts["folds"]
    return f"folds {', '.join(map(str, numbers))} of {count}"


class _OverFolds(NamedTuple):
    """A contrast of the first fold, with its mean over seeds on each fold; NaN where it has none.

    The interval has no ends below FOLDS_FOR_INTERVAL folds.
    """

    contrast: Contrast
    values: list[float]
    interval: Interval

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if not math.isnan(value)]


def _over_folds(folds: Sequence[Dataset]) -> list[_OverFolds]:
    count = int(folds[0].runs[0].facts["folds"])
    by_fold = [{_key(dataset, c): c.interval.mean for c in dataset.contrasts} for dataset in folds]
    result = []
    for contrast in folds[0].contrasts:
        key = _key(folds[0], contrast)
        values = [of.get(key, math.nan) for of in by_fold]
        known = [value for value in values if not math.isnan(value)]
        interval = fold_interval(known, count)
        if len(known) < FOLDS_FOR_INTERVAL:
            interval = Interval(interval.mean, math.nan, math.nan)
        result.append(_OverFolds(contrast, values, interval))
    return result


def fold_sentences(dataset: Dataset) -> list[str]:
    """A sentence for each contrast over all folds, main effects in place of their parts."""
    if not dataset.other_folds:
        return []
    folds = [dataset, *dataset.other_folds]
    asked = [of for of in _over_folds(folds) if of.contrast.question != "interaction"]
    with_main_effect = {of.contrast.question for of in asked if of.contrast.is_main_effect}
    phrases: dict[str, list[str]] = {}
    for of in asked:
        if of.contrast.is_main_effect or of.contrast.question not in with_main_effect:
            phrases.setdefault(f"{of.contrast.question}: {of.contrast.name}", []).append(
                _phrase(of)
            )
    return [
        f"Over {_folds_text(folds)}, {name}: {'; '.join(of_name)}."
        for name, of_name in phrases.items()
    ]


def _phrase(of: _OverFolds) -> str:
    """The difference of one class, with an interval or with the range of the folds."""
    mean, low, high = map(signed_score, (of.interval.mean, of.interval.low, of.interval.high))
    if math.isnan(of.interval.low):
        low, high = (signed_score(end) for end in (min(of.known), max(of.known)))
        return f"{of.contrast.class_name} {mean} ({low} to {high} from fold to fold; descriptive)"
    return f"{of.contrast.class_name} {mean} (95 % interval over folds {low} to {high})"


def _contrast_table(folds: Sequence[Dataset]) -> Table:
    """Every contrast on each fold, mean over seeds."""
    name = _name_of(folds)
    return Table(
        name=f"folds-{name}",
        title=f"Folds: {name}, test F1",
        columns=[
            *("question", "contrast", "class"),
            *(f"fold {dataset.runs[0].fold}" for dataset in folds),
            *("mean", "from", "to", "above 0"),
        ],
        rows=[
            [
                of.contrast.question,
                of.contrast.name,
                of.contrast.class_name,
                *("-" if math.isnan(value) else f"{value:+.3f}" for value in of.values),
                *interval_cells(of.interval),
                f"{sum(value > 0 for value in of.known)} of {len(of.known)}",
            ]
            for of in _over_folds(folds)
        ],
        notes=[
            f"{_folds_text(folds)}: test F1, mean over the seeds that both sides have in a fold",
            f"from, to: 95 % interval over folds, from {FOLDS_FOR_INTERVAL} of them on, widened "
            "since folds share training slices (Nadeau and Bengio); below, the folds only describe",
            "it speaks of other slices of the same volumes; of other cells only where folds are "
            "whole volumes of independent cells",
        ],
    )


def _key(dataset: Dataset, contrast: Contrast) -> tuple[object, ...]:
    """What a contrast has in common with that of another fold."""
    sides = (
        tuple(_configuration_of(dataset.configurations[label]) for label in side)
        for side in (contrast.first, contrast.second)
    )
    return (contrast.question, *sides, contrast.class_name)


def _configuration_of(runs: Sequence[FinishedRun]) -> str:
    """Hash of a configuration without the fold: names may be cut off, or be shared."""
    return str(runs[0].facts["folds_hash"])


def _improvement_table(folds: Sequence[Dataset]) -> Table:
    """How likely a run of one configuration is above a run of another one, over all classes."""
    by_fold = [_by_configuration(dataset) for dataset in folds]
    rows = []
    for pairing in folds[0].pairings:
        # A side of several configurations has no runs of its own.
        if len(pairing.first) > 1:
            continue
        first, second = (
            _configuration_of(folds[0].configurations[label])
            for (label,) in (pairing.first, pairing.second)
        )
        chances = [
            improvement_probability(of[first][:, column], of[second][:, column])
            for of in by_fold
            if first in of and second in of
            for column in range(len(folds[0].foreground))
            # A class may be in no test slice of a fold.
            if not np.isnan(of[first][:, column]).any()
        ]
        label = f"{pairing.second[0]} above {pairing.first[0]}"
        share = f"{np.mean(chances):.2f}" if chances else "-"
        rows.append([pairing.question, label, share, str(len(chances))])
    name = _name_of(folds)
    return Table(
        name=f"improvement-{name}",
        title=f"Probability of improvement: {name}",
        columns=["question", "what", "probability", "classes x folds"],
        rows=rows,
        notes=[
            "that a run of the first scores above a run of the second, whatever their seeds: mean "
            "over classes and folds; descriptive"
        ],
    )


def _rank_table(folds: Sequence[Dataset]) -> Table:
    """How often each configuration comes first, over folds and seeds."""
    by_fold = [_scores_by_seed(dataset, folds[0]) for dataset in folds]
    classes = folds[0].foreground
    labels = list(folds[0].configurations)
    # (configurations, folds x seeds, classes and their mean)
    scores = np.concatenate(by_fold, axis=1)
    wins = scores == np.max(scores, axis=0)
    counts = (~np.isnan(scores).any(axis=0)).sum(axis=0)
    rows = [
        [label, *(f"{w} of {n}" for w, n in zip(of.sum(axis=0), counts, strict=True))]
        for label, of in zip(labels, wins, strict=True)
    ]
    name = _name_of(folds)
    return Table(
        name=f"ranks-{name}",
        title=f"How often each configuration comes first: {name}",
        columns=["configuration", *classes, "mean of classes"],
        rows=rows,
        notes=[
            f"{_folds_text(folds)}: test F1 of each fold and seed that all configurations have; "
            "equal ones all come first"
        ],
    )


def _scores_by_seed(dataset: Dataset, first: Dataset) -> Floats:
    """Test F1 (configurations of `first`, seeds that all of them have, classes and their mean)."""
    runs_of = {_configuration_of(runs): runs for runs in dataset.configurations.values()}
    sides = [runs_of.get(_configuration_of(runs), []) for runs in first.configurations.values()]
    seeds = sorted(set.intersection(*({run.seed for run in runs} for runs in sides)))
    scores = np.full((len(sides), len(seeds), len(first.foreground) + 1), np.nan)
    for row, runs in enumerate(sides):
        for run in runs:
            if run.seed in seeds:
                f1 = list(run.f1("test").values())
                # Without the classes that no test slice of the fold holds, in any configuration.
                known = [value for value in f1 if not math.isnan(value)]
                mean = math.fsum(known) / len(known) if known else math.nan
                scores[row, seeds.index(run.seed)] = [*f1, mean]
    return scores


def _by_configuration(dataset: Dataset) -> dict[str, Floats]:
    """Test F1 (runs, classes) of each configuration."""
    return {
        _configuration_of(runs): np.array([list(run.f1("test").values()) for run in runs])
        for runs in dataset.configurations.values()
    }
