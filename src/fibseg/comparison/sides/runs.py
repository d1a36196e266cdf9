"""The runs of both sides of a contrast, paired by seed or all of them, and their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fibseg.arrays import Floats, Ints
from fibseg.comparison.inference import pooled_values
from fibseg.comparison.rows import collapsed_runs
from fibseg.runs.finished import FinishedRun
from fibseg.scores.pixels import class_counts

SideRuns = list[list[FinishedRun]]
"""Runs of each configuration of a side."""


def compared_runs(sides: Sequence[Sequence[Sequence[FinishedRun]]]) -> tuple[list[SideRuns], bool]:
    """The runs of each side that are compared, and whether they are paired by seed.

    Paired runs are in the order of the seeds that all configurations have. Another program's runs
    are not paired; a side of several configurations with such runs has no runs to compare.
    """
    every = [runs for side in sides for runs in side]
    if any(run.adopted for runs in every for run in runs):
        # No run is chosen: which seed another program's run was given says nothing. Its sides are
        # single configurations, since it has no filter that a mean could be over.
        is_single = all(len(side) == 1 for side in sides)
        return [[list(runs) for runs in side] if is_single else [] for side in sides], False
    # One seed draws the same patches, whatever the model or filter: docs/ARCHITECTURE.md,
    # "Randomness". That is what makes runs of one seed a pair.
    seeds = sorted(set.intersection(*({run.seed for run in runs} for runs in every)))
    return [
        [[run for seed in seeds for run in runs if run.seed == seed] for runs in side]
        for side in sides
    ], True


def standing_runs(
    sides: Sequence[SideRuns], collapsed: Sequence[FinishedRun], paired: bool
) -> tuple[list[int], list[list[bool]]]:
    """Seeds of the collapsed runs, and of each side whether its runs stand without these."""
    if not paired:
        stands = [[run not in collapsed for run in side[0]] for side in sides]
        return sorted(run.seed for run in collapsed), stands
    # A collapse on either side spoils the pair.
    failed = {run.seed for run in collapsed} & {run.seed for run in sides[0][0]}
    return sorted(failed), [[run.seed not in failed for run in side[0]] for side in sides]


def side_f1(side: SideRuns, class_name: str) -> list[float]:
    """Test F1 of a class by the runs of each seed, summed over the configurations of a side."""
    # fsum rounds once, so that the order of the runs does not change a difference.
    return [
        math.fsum(run.f1("test")[class_name] for run in of_seed)
        for of_seed in zip(*side, strict=True)
    ]


def collapsed_of(
    configurations: Sequence[Sequence[FinishedRun]], class_name: str
) -> list[FinishedRun]:
    """Runs that collapsed on a class, each judged beside the other ones of its configuration."""
    return [run for runs in configurations for run in collapsed_runs(runs, class_name)]


def side_f1_by_slice(side: SideRuns, class_name: str) -> Floats:
    """Test F1 (S,) of each slice: mean over runs, summed over the configurations of a side.

    NaN where a slice does not hold the class.
    """
    column = side[0][0].class_names.index(class_name)
    means = [
        # A slice without the class is NaN in every run, so that no mean mixes numbers with NaN.
        np.mean([run.f1_by_slice("test")[:, column] for run in runs], axis=0)
        for runs in side
    ]
    return np.asarray(np.sum(means, axis=0), np.float64)


def pooled_by_seed(
    configurations: Mapping[str, Sequence[FinishedRun]], along_z: Sequence[int]
) -> dict[str, dict[int, Floats]]:
    """`pooled_values` (K, S) of each run, by configuration and seed.

    Args:
        configurations: name -> runs.
        along_z: positions of the test slices in a run, in the order that is wanted.
    """
    return {
        label: {run.seed: _pooled(run.confusions["test"][along_z]) for run in runs}
        for label, runs in configurations.items()
    }


def _pooled(confusions: Ints) -> Floats:
    return pooled_values(class_counts(confusions).swapaxes(0, 1))
