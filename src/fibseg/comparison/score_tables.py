"""Tables of scores: Table 1 as in the paper, further scores, the second expert, and every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import numpy as np

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.rows import ScoreRow, collapsed_runs
from fibseg.comparison.text import Table
from fibseg.runs.collection import best_runs
from fibseg.runs.finished import FinishedRun
from fibseg.runs.results import SCORED_SPLITS
from fibseg.scores.pixels import mean_f1


def mean_and_deviation(values: Sequence[float], paper_style: bool) -> str:
    """Mean and standard deviation of some scores as a cell.

    The deviation is of a sample, and digits are rounded; in the paper's style it is of a
    population, and digits are cut off. A single score has no deviation.

    >>> mean_and_deviation([0.9379, 0.9399], paper_style=False)
    '0.939 ± 0.001'
    >>> mean_and_deviation([0.9379, 0.9399], paper_style=True)
    '0.938 ± 0.001'
    """
    scores = np.asarray(values, np.float64)
    # NaN is the F1 of a class that no slice of the split holds.
    if len(scores) == 0 or np.isnan(scores).any():
        return "-"
    mean = _three_digits(float(scores.mean()), paper_style)
    if len(scores) == 1:
        return mean
    # The paper gives the population deviation, which is smaller: by 5 % for 10 runs.
    deviation = float(scores.std(ddof=0 if paper_style else 1))
    return f"{mean} ± {_three_digits(deviation, paper_style)}"


def _three_digits(value: float, cut_off: bool) -> str:
    # Twelve digits first: .29 is .28999999999999998 as a float, which would be cut off to .289.
    rounding = ROUND_DOWN if cut_off else ROUND_HALF_EVEN
    return str(Decimal(f"{value:.12f}").quantize(Decimal("0.001"), rounding=rounding))


def table_1(dataset: Dataset, paper_style: bool = False) -> Table:
    """Table 1 of Meyer et al., ISBI 2021: test F1 of each configuration and class.

    Scores are means over the best runs, over all runs and, where some collapsed, over the others.
    """
    rows: list[list[str]] = []
    # score_rows has a row per class; Table 1 has a column per class.
    by_label: dict[str, list[ScoreRow]] = {}
    for row in dataset.score_rows:
        by_label.setdefault(row.configuration, []).append(row)
    for label, of_class in by_label.items():
        rows += _rows_of_configuration(label, dataset.configurations[label], of_class, paper_style)
    notes = [
        "F1: mean over the test slices that hold the class; then mean ± standard deviation over "
        "runs",
        "best: two thirds of the runs, by the sum of their validation F1; choosing changes the "
        "mean",
    ]
    if paper_style:
        notes.append(
            "population standard deviation, digits cut off and not rounded, as in the paper"
        )
    # The best two thirds of unequal numbers are not chosen equally hard.
    if len({len(runs) for runs in dataset.configurations.values()}) > 1:
        notes.append("configurations have unequal numbers of runs")
    notes += [f"not among them: {phrase}" for phrase in dataset.left_out]
    return Table(
        name=f"table1-{dataset.name}",
        title=f"Table 1: {dataset.name}, test F1",
        columns=["configuration", "runs", *dataset.foreground],
        rows=rows,
        notes=notes,
    )


def _rows_of_configuration(
    label: str, runs: Sequence[FinishedRun], of_class: Sequence[ScoreRow], paper_style: bool
) -> list[list[str]]:
    """Two rows of Table 1, and a third one without collapsed runs."""
    best = [mean_and_deviation(row.best_f1, paper_style) for row in of_class]
    every = [mean_and_deviation(row.f1, paper_style) for row in of_class]
    rows = [
        [label, f"best {len(best_runs(runs))} of {len(runs)}", *best],
        [label, f"all {len(runs)}", *every],
    ]
    collapsed = sorted({seed for row in of_class for seed in row.collapsed_seeds})
    if collapsed:
        # Empty cells for classes in which no run collapsed: their mean stands in the row above.
        standing = [
            mean_and_deviation(row.standing_f1, paper_style) if row.collapsed_seeds else ""
            for row in of_class
        ]
        rows.append([label, f"less collapsed seeds {', '.join(map(str, collapsed))}", *standing])
    return rows


def score_table(dataset: Dataset) -> Table:
    """Further scores of all runs, of the pixels of all test slices together."""
    rows = []
    for row in dataset.score_rows:
        scores = (row.pooled_f1, row.iou, row.precision, row.recall)
        cells = ["-" if math.isnan(score) else f"{score:.3f}" for score in scores]
        counts = [str(row.slices), f"{row.false_pixels:.0f}"]
        rows.append([row.configuration, row.class_name, *cells, *counts])
    return Table(
        name=f"scores-{dataset.name}",
        title=f"Scores: {dataset.name}, test slices",
        columns=[
            "configuration",
            "class",
            "pooled F1",
            "IoU",
            "precision",
            "recall",
            "slices",
            "false px, empty slices",
        ],
        rows=rows,
        notes=[
            "pooled over the pixels of all test slices, means over all runs; slices: those that "
            "hold the class",
            "a run that predicts nothing of a class has no precision, and is in no mean of it",
        ],
    )


def expert_table(dataset: Dataset, paper_style: bool = False) -> Table | None:
    """F1 of the second expert against the first, and of every configuration on the same slices.

    None for a data set without a second expert.
    """
    expert = dataset.second_expert
    if expert is None:
        return None
    # Scored like a run: the mean over slices, against the first person.
    expert_f1 = mean_f1(expert.confusions(len(dataset.class_names)))[1:]
    rows = [["second expert", *(mean_and_deviation([score], paper_style) for score in expert_f1)]]
    for label, runs in dataset.configurations.items():
        # Other slices may be harder or easier; on the same ones a run and the expert can be
        # compared.
        scores = [run.on_slices("test", expert.places) for run in runs]
        cells = [
            mean_and_deviation([score[name] for score in scores], paper_style)
            for name in dataset.foreground
        ]
        rows.append([label, *cells])
    count = len(expert.places)
    return Table(
        name=f"expert-{dataset.name}",
        title=f"Second expert: {dataset.name}, F1 on the {count} slices of the second expert",
        columns=["", *dataset.foreground],
        rows=rows,
        notes=[
            "scored against the first expert; configurations on these slices only, "
            "mean ± standard deviation over all runs"
        ],
    )


def cost_table(dataset: Dataset) -> Table:
    """What each configuration took, beside what it scored: time, device, size, memory."""
    rows = []
    for label, runs in dataset.configurations.items():
        # NaN is the score of classes that neither the test slices nor the labels hold.
        f1 = [score for run in runs for score in run.f1("test").values() if not math.isnan(score)]
        ious = [iou for run in runs if not math.isnan(iou := run.mean_iou("test"))]
        seconds = [run.seconds for run in runs if run.seconds is not None]
        peaks = [run.facts["peak_gib"] for run in runs if run.facts.get("peak_gib")]
        rows.append(
            [
                label,
                f"{np.mean(f1):.3f}" if f1 else "-",
                f"{np.mean(ious):.3f}" if ious else "-",
                f"{np.mean(seconds):.0f}{stated_mark(runs)}" if seconds else "",
                _only([run.facts.get("device_name") or run.facts.get("device") for run in runs]),
                _only([f"{run.facts.get('parameters') or 0:,}".lstrip("0") for run in runs]),
                f"{max(peaks):.2f}" if peaks else "",
                str(len(runs)),
            ]
        )
    return Table(
        name=f"costs-{dataset.name}",
        title=f"Costs: {dataset.name}, beside the scores of the test slices",
        columns=[
            *("configuration", "F1", "foreground IoU", "seconds", "device", "parameters"),
            *("peak GiB", "runs"),
        ],
        rows=rows,
        notes=[
            "F1, foreground IoU: means over the classes without the background, and over runs; F1 "
            "by slice, IoU of the pixels of all test slices together; -: of no class",
            f"seconds: of training and scoring, mean over runs{stated_note(dataset)}; peak: "
            "largest memory of the process with what it trained before, or of the run on its GPU; "
            "empty: not known",
        ],
    )


def stated_mark(runs: Sequence[FinishedRun]) -> str:
    """Behind costs that a person stated, and no clock of ours."""
    return " (stated)" if runs[0].adopted else ""


def stated_note(dataset: Dataset) -> str:
    """What the mark of `stated_mark` means; empty where there is none."""
    return "; (stated): by the person who adopted the labels" if dataset.adopted else ""


def _only(values: Sequence[object]) -> str:
    """The value that all runs share, "various" for several; "" where nobody knows."""
    known = {str(value) for value in values if value}
    return known.pop() if len(known) == 1 else "various" * bool(known)


def run_table(dataset: Dataset) -> Table:
    """Every run with its validation and test F1, and whether it is among the best or collapsed."""
    names = dataset.foreground
    rows = []
    for label, runs in dataset.configurations.items():
        collapsed = {name: collapsed_runs(runs, name) for name in names}
        best = best_runs(runs)
        for run in runs:
            scores = [run.f1(split)[name] for split in SCORED_SPLITS for name in names]
            cells = ["-" if math.isnan(score) else f"{score:.3f}" for score in scores]
            failed = ", ".join(name for name in names if run in collapsed[name])
            rows.append([label, str(run.seed), *cells, "yes" if run in best else "", failed])
    score_columns = [f"{split} {name}" for split in SCORED_SPLITS for name in names]
    return Table(
        name=f"runs-{dataset.name}",
        title=f"Runs: {dataset.name}",
        columns=["configuration", "seed", *score_columns, "best", "collapsed"],
        rows=rows,
    )
