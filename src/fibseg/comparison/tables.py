"""The tables of `fibseg compare`: scores and components as the paper has them, contrasts, and every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison.detections import DetectionCounts, detections, in_strata
from fibseg.comparison.labels import (
    PIXELS,
    expert_detections,
    expert_thin_scores,
    objects,
    second_expert,
    thin_scores_of,
)
from fibseg.comparison.rows import collapsed, score_rows
from fibseg.comparison.text import Table
from fibseg.runs.collection import FinishedRun, best_runs, configurations
from fibseg.scores.components import PAPER_BINS, Bins
from fibseg.scores.pixels import mean_f1


def spread(values: Sequence[float], paper_style: bool) -> str:
    """Mean and standard deviation: of a sample, rounded; or the paper's, of a population and cut off.

    >>> spread([0.9379, 0.9399], False), spread([0.9379, 0.9399], True)
    ('0.939 ± 0.001', '0.938 ± 0.001')
    """
    found = np.asarray(values, np.float64)
    if len(found) == 0 or np.isnan(found).any():
        return "-"
    mean = _digits(float(found.mean()), paper_style)
    if len(found) == 1:
        return mean
    return f"{mean} ± {_digits(float(found.std(ddof=0 if paper_style else 1)), paper_style)}"


def _digits(value: float, cut: bool) -> str:
    rounding = ROUND_DOWN if cut else ROUND_HALF_EVEN
    return str(Decimal(f"{value:.12f}").quantize(Decimal("0.001"), rounding=rounding))


def table_1(
    runs: Sequence[FinishedRun], paper_style: bool = False, left_out: Sequence[str] = ()
) -> Table:
    """Test F1 of each configuration: of the chosen runs, and below it of all of them; what is not among them."""
    names, rows = runs[0].names[1:], []
    groups = configurations(runs)
    scores = {(row.configuration, row.class_name): row for row in score_rows(runs, "test")}
    for label, own in groups.items():
        of_class = [scores[label, name] for name in names]
        best = [spread(row.best, paper_style) for row in of_class]
        rows.append([label, f"best {len(best_runs(own))} of {len(own)}", *best])
        rows.append(
            [label, f"all {len(own)}", *(spread(row.values, paper_style) for row in of_class)]
        )
        failed = sorted({seed for row in of_class for seed in row.seeds_collapsed})
        if failed:
            without = [
                spread(row.without, paper_style) if row.seeds_collapsed else "" for row in of_class
            ]
            rows.append([label, f"less collapsed seeds {', '.join(map(str, failed))}", *without])
    notes = [
        "F1: mean over the test slices that hold the class; then mean ± standard deviation over runs",
        "best: two thirds of the runs, by the sum of their validation F1; choosing changes the mean",
    ]
    if paper_style:
        notes.append(
            "population standard deviation, digits cut off and not rounded, as in the paper"
        )
    if len({len(own) for own in groups.values()}) > 1:
        notes.append("configurations have unequal numbers of runs")
    notes += [f"not among them: {one}" for one in left_out]
    columns = ["configuration", "runs", *names]
    return Table(
        f"table1-{runs[0].data}", f"Table 1: {runs[0].data}, test F1", columns, rows, notes
    )


def score_table(runs: Sequence[FinishedRun]) -> Table:
    """Further scores of all runs: of all pixels of the test slices together."""
    rows = []
    for row in score_rows(runs, "test"):
        numbers = (row.pooled, row.iou, row.precision, row.recall)
        cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in numbers]
        rows.append(
            [row.configuration, row.class_name, *cells, str(row.slices), f"{row.empty:.0f}"]
        )
    columns = [
        "configuration",
        "class",
        "pooled F1",
        "IoU",
        "precision",
        "recall",
        "slices",
        "false px, empty slices",
    ]
    notes = [
        "pooled over the pixels of all test slices, means over all runs; slices: those that hold the class",
        "a run that predicts nothing of a class has no precision, and is in no mean of it",
    ]
    return Table(
        f"scores-{runs[0].data}", f"Scores: {runs[0].data}, test slices", columns, rows, notes
    )


DETECTION_COLUMNS = ["TP", "FN", "UD", "right", "false", "partly", "merges", "splits"]


def table_2(runs: Sequence[FinishedRun], bins: Bins = PAPER_BINS) -> Table:
    """Components of the test slices: of the run best by validation, and the range over all runs."""
    rows = []
    for label, own in configurations(runs).items():
        found = [detections(run, "test", bins) for run in own]
        for name in own[0].names[1:]:
            cells, total = _detection_cells(own, [one[name] for one in found])
            rows.append([f"{label}, seed {best_runs(own)[0].seed}", f"{name} ({total})", *cells])
    title = f"Table 2: {runs[0].data}, components of the test slices"
    notes = [
        f"2-D, 8-connected, of {bins.smallest} pixels or more; {_bins(bins)}",
        *DETECTION_NOTES,
    ]
    return Table(
        f"table2-{runs[0].data}",
        title,
        ["run", "class (components)", *DETECTION_COLUMNS],
        rows,
        notes,
    )


def strata_table(runs: Sequence[FinishedRun], edges: Sequence[int], bins: Bins) -> Table:
    """Table 2 by the area of a component; true ones by their own, predicted ones by theirs."""
    rows = []
    for label, own in configurations(runs).items():
        found = [in_strata(run, "test", edges, bins) for run in own]
        for name, of_class in found[0].items():
            for stratum in of_class:
                cells, total = _detection_cells(own, [one[name][stratum] for one in found])
                rows.append(
                    [
                        f"{label}, seed {best_runs(own)[0].seed}",
                        name,
                        f"{stratum} ({total})",
                        *cells,
                    ]
                )
    columns = ["run", "class", "area in pixels (components)", *DETECTION_COLUMNS]
    notes = [f"2-D, 8-connected; {_bins(bins)}", *DETECTION_NOTES]
    return Table(
        f"strata-{runs[0].data}",
        f"Components by size: {runs[0].data}, test slices",
        columns,
        rows,
        notes,
    )


def object_table(runs: Sequence[FinishedRun], bins: Bins) -> Table:
    """3-D objects over consecutive test slices, in the bins of Table 2.

    Raises:
        FibsegError: labels of a run, or the truth beside it, are missing.
    """
    rows = []
    for label, own in configurations(runs).items():
        found = [objects(run, bins) for run in own]
        for name in own[0].names[1:]:
            cells, total = _detection_cells(own, [one[name] for one in found])
            rows.append([f"{label}, seed {best_runs(own)[0].seed}", f"{name} ({total})", *cells])
    notes = [f"26-connected, of {bins.smallest} voxels or more; {_bins(bins)}", *DETECTION_NOTES]
    notes.append("an object that leaves the test slices is cut there")
    title = f"3-D objects: {runs[0].data}, over consecutive test slices"
    return Table(
        f"objects-{runs[0].data}",
        title,
        ["run", "class (objects)", *DETECTION_COLUMNS],
        rows,
        notes,
    )


DETECTION_NOTES = [
    "of the run best by validation; in brackets how many, and the range over runs",
    "right, false, partly: predicted ones, by the same shares",
]


def _bins(bins: Bins) -> str:
    return f"TP: over {bins.high:.0%} found, FN: below {bins.low:.0%}, UD: between"


def _detection_cells(
    own: Sequence[FinishedRun], found: Sequence[DetectionCounts]
) -> tuple[list[str], int]:
    """DETECTION_COLUMNS of the run best by validation, with the range over runs; and how many true ones there are."""
    ours = found[list(own).index(best_runs(own)[0])]
    total, cells = ours["tp"] + ours["fn"] + ours["ud"], []
    for kind in ("tp", "fn", "ud"):
        every = [one[kind] for one in found]
        share = f"{ours[kind] / total:.1%}" if total else "-"
        cells.append(f"{share} ({ours[kind]}; {min(every)} to {max(every)})")
    return [
        *cells,
        *(str(ours[kind]) for kind in ("right", "fp", "partly", "merges", "splits")),
    ], total


def thin_table(
    runs: Sequence[FinishedRun], names: Sequence[str], tolerance: float | None, paper_style: bool
) -> Table:
    """Boundary F1 and clDice of thin classes: on the test slices, and on those of the second expert with that expert.

    Raises:
        FibsegError: labels of a run, or the truth beside it, are missing; or no voxel size for a tolerance in nm.
    """
    rows: list[list[str]] = []
    expert = second_expert(runs)
    for name in names:
        others = None if expert is None else expert_thin_scores(runs, name, tolerance)
        if others is not None:
            cells = [spread([value], paper_style) for value in _means(others[1])]
            rows.append(["second expert", name, *["-"] * 2, *cells])
        for label, own in configurations(runs).items():
            scores = thin_scores_of(own, name, tolerance)
            cells = [
                spread(column, paper_style) for column in zip(*map(_means, scores), strict=True)
            ]
            if others is not None:
                chosen_ones = [
                    [run.places["test"].index(place) for place in others[0]] for run in own
                ]
                there = [_means(one[which]) for one, which in zip(scores, chosen_ones, strict=True)]
                cells += [spread(column, paper_style) for column in zip(*there, strict=True)]
            rows.append([label, name, *cells])
    near = f"{PIXELS} pixels" if tolerance is None else f"{tolerance:g} nm"
    columns = ["configuration", "class", "boundary F1", "clDice"]
    columns += [] if expert is None else [f"{one}, expert's slices" for one in columns[2:]]
    notes = [
        f"boundary F1: boundaries within {near} of each other count as equal; clDice: skeletons within the other mask",
        "means over the slices that hold the class, then mean ± standard deviation over all runs",
    ]
    return Table(
        f"thin-{runs[0].data}", f"Thin classes: {runs[0].data}, test slices", columns, rows, notes
    )


def _means(scores: NDArray[np.float64]) -> list[float]:
    """Of (S, 2) over the slices that hold the class; NaN where none does."""
    held = scores[~np.isnan(scores[:, 0])]
    return held.mean(axis=0).tolist() if len(held) else [math.nan, math.nan]


def expert_table(runs: Sequence[FinishedRun], paper_style: bool = False) -> Table | None:
    """The second expert against the first, and every configuration on the same slices; None without one."""
    found = second_expert(runs)
    if found is None:
        return None
    places, counts = found
    names = runs[0].names[1:]
    rows = [["second expert", *(spread([value], paper_style) for value in mean_f1(counts)[1:])]]
    for label, own in configurations(runs).items():
        scores = [run.on_slices("test", places) for run in own]
        rows.append(
            [label, *(spread([one[name] for one in scores], paper_style) for name in names)]
        )
    title = f"Second expert: {runs[0].data}, F1 on the {len(places)} slices of the second expert"
    notes = [
        "scored against the first expert; configurations on these slices only, mean ± standard deviation over all runs"
    ]
    return Table(f"expert-{runs[0].data}", title, ["", *names], rows, notes)


def expert_components(runs: Sequence[FinishedRun], bins: Bins) -> Table | None:
    """Table 2 on the slices of the second expert, with that expert as a row; None without one."""
    found = expert_detections(runs, bins)
    if found is None:
        return None
    places, theirs = found
    rows = []
    for name in runs[0].names[1:]:
        cells, total = _detection_cells([runs[0]], [theirs[name]])
        rows.append(["second expert", f"{name} ({total})", *cells])
    for label, own in configurations(runs).items():
        ours = [detections(run, "test", bins, places) for run in own]
        for name in own[0].names[1:]:
            cells, total = _detection_cells(own, [one[name] for one in ours])
            rows.append([f"{label}, seed {best_runs(own)[0].seed}", f"{name} ({total})", *cells])
    title = f"Components on the {len(places)} slices of the second expert: {runs[0].data}"
    notes = [
        f"2-D, 8-connected, of {bins.smallest} pixels or more; {_bins(bins)}",
        *DETECTION_NOTES,
    ]
    return Table(
        f"expert2-{runs[0].data}",
        title,
        ["", "class (components)", *DETECTION_COLUMNS],
        rows,
        notes,
    )


def run_table(runs: Sequence[FinishedRun]) -> Table:
    """Every run with its scores."""
    names = runs[0].names[1:]
    rows = []
    for label, own in configurations(runs).items():
        failed, best = {name: collapsed(own, name) for name in names}, best_runs(own)
        for run in own:
            both = [run.f1(split) for split in ("validation", "test")]
            cells = [f"{scores[name]:.3f}" for scores in both for name in names]
            cells.append("yes" if run in best else "")
            rows.append(
                [
                    label,
                    str(run.seed),
                    *cells,
                    ", ".join(name for name in names if run in failed[name]),
                ]
            )
    columns = [
        "configuration",
        "seed",
        *(f"{split} {name}" for split in ("validation", "test") for name in names),
    ]
    return Table(
        f"runs-{runs[0].data}", f"Runs: {runs[0].data}", [*columns, "best", "collapsed"], rows
    )
