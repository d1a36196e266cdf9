"""The table of thin classes, such as membranes: boundary F1 and clDice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fibseg.arrays import Floats
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.labels import (
    BOUNDARY_PIXELS,
    LabelMeasures,
    LabelScores,
    pixel_sizes,
    thin_scores,
)
from fibseg.comparison.score_tables import mean_and_deviation
from fibseg.comparison.second_expert import ExpertLabels
from fibseg.comparison.text import Table

_THIN_COLUMNS = ["boundary F1", "clDice"]


def thin_table(
    dataset: Dataset,
    scores: Mapping[Path, LabelScores],
    measures: LabelMeasures,
    paper_style: bool = False,
) -> Table:
    """Boundary F1 and clDice on the test slices, and on the second expert's with that expert.

    Args:
        dataset: runs of one data set.
        scores: path of each run -> what was computed from its labels, thin classes among it.
        measures: what was computed.
        paper_style: as in `mean_and_deviation`.

    Raises:
        FibsegError: the tolerance is in nm, but there are no voxel sizes.
    """
    rows: list[list[str]] = []
    expert = dataset.second_expert
    for name in measures.thin_classes:
        if expert is not None:
            expert_means = _slice_means(_expert_scores(dataset, expert, name, measures.tolerance))
            # One person, so that there is no deviation.
            cells = [mean_and_deviation([mean], paper_style) for mean in expert_means]
            # On the other test slices there is no second annotation.
            rows.append(["second expert", name, "-", "-", *cells])
        for label, runs in dataset.configurations.items():
            of_runs = [scores[run.path].thin[name] for run in runs]
            cells = _cells(of_runs, paper_style)
            if expert is not None:
                # Both were computed slice by slice, so that nothing is computed anew.
                positions = [dataset.places.index(place) for place in expert.places]
                cells += _cells([of_run[positions] for of_run in of_runs], paper_style)
            rows.append([label, name, *cells])
    columns = ["configuration", "class", *_THIN_COLUMNS]
    if expert is not None:
        columns += [f"{column}, expert's slices" for column in _THIN_COLUMNS]
    near = f"{BOUNDARY_PIXELS} pixels"
    if measures.tolerance is not None:
        near = f"{measures.tolerance:g} nm"
    return Table(
        name=f"thin-{dataset.name}",
        title=f"Thin classes: {dataset.name}, test slices",
        columns=columns,
        rows=rows,
        notes=[
            f"boundary F1: boundaries within {near} of each other count as equal; "
            "clDice: skeletons within the other mask",
            "means over the slices that hold the class, then mean ± standard deviation over all "
            "runs",
        ],
    )


def _expert_scores(
    dataset: Dataset, expert: ExpertLabels, class_name: str, tolerance: float | None
) -> Floats:
    """Boundary F1 and clDice of the second expert, (S, 2)."""
    run = dataset.runs[0]
    return thin_scores(
        expert.label_pairs,
        class_index=run.class_names.index(class_name),
        spacings=pixel_sizes(run, expert.places, dataset.volumes(run), tolerance),
        tolerance=tolerance,
    )


def _cells(of_runs: Sequence[Floats], paper_style: bool) -> list[str]:
    """Mean and deviation over runs of each column."""
    # First over slices, then over runs: the unit of the deviation is the training run.
    means = [_slice_means(scores) for scores in of_runs]
    return [mean_and_deviation(column, paper_style) for column in zip(*means, strict=True)]


def _slice_means(scores: Floats) -> list[float]:
    """Means of (S, 2) scores over the slices that hold the class; NaN where none does."""
    # Boundary F1 is NaN where the truth has no boundary of the class.
    with_class = scores[~np.isnan(scores[:, 0])]
    return with_class.mean(axis=0).tolist() if len(with_class) else [math.nan, math.nan]
