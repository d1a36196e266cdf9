"""By how much configurations differ, paired by seed, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np

from fibseg.comparison.inference import (
    SEEDS_FOR_SLICES,
    SLICES_FOR_INTERVAL,
    Interval,
    family_test,
    seeds_needed_range,
    slice_interval,
    t_interval,
)
from fibseg.comparison.inference.intervals import (
    correlation,
    effect_size,
    equivalence_p,
    welch_interval,
)
from fibseg.comparison.pairings import Pairing
from fibseg.comparison.rows import mean_by_volume
from fibseg.comparison.sides.runs import (
    collapsed_of,
    compared_runs,
    pooled_by_seed,
    side_f1,
    side_f1_by_slice,
    standing_runs,
)
from fibseg.comparison.sides.texts import side_text
from fibseg.runs.finished import FinishedRun

_UNKNOWN = Interval(math.nan, math.nan, math.nan)

_SEEDS_FOR_POWER = 3
"""Seeds from which the deviation is known well enough to say how many seeds are needed."""


@dataclass(frozen=True)
class Contrast:
    """What one side scored above another one for one class, over the seeds that all runs have.

    A side is a configuration, the mean of several for a main effect, or a sum for an interaction.

    Attributes:
        question: of QUESTIONS; its main effects are one family of tests, its other contrasts
            another one.
        first: names of the configurations that are subtracted.
        second: names of the configurations that they are subtracted from.
        class_name: the class.
        seeds: seeds that all configurations have; [] where nothing is paired.
        differences: of the test F1, per seed.
        interval: mean of the differences, with Student's 95 % interval of this contrast alone.
        collapsed_seeds: seeds of a run that collapsed on one of the sides.
        standing_interval: the interval without these seeds.
        p: of the sign-flip test of this contrast alone; NaN below SEEDS_FOR_TEST seeds.
        joint_p: the same for all contrasts of the family together.
        joint_interval: ends that hold for all contrasts of the family together, and leave out 0
            where `joint_p` is .05 or less; NaN ends where that is NaN.
        family: number of its tests.
        smallest_p: that `joint_p` could be here.
        equivalence_p: p of the claim that the mean difference is below the margin.
        effect_size: mean difference over the standard deviation of a score.
        correlation: of the two sides' scores over seeds.
        welch: the interval that pairs nothing.
        seeds_needed: number of seeds that see a difference of .01 with 80 % power, with the lower
            and upper end of its range; None below three seeds.
        by_slice: difference on each test slice, mean over seeds; NaN without the class.
        pooled_interval: mean difference of pooled F1, with a 95 % interval over seeds and slices.
        by_volume: difference in each test volume that holds the class, mean over seeds.
        paired: whether equal seeds mean the same on both sides, as they do for runs of fibseg.
            Else all runs of both sides count, `interval` and `standing_interval` are Welch's, there
            is no test, and `pooled_interval` has no ends.
        runs: number of runs of the first and of the second side.
        standing_runs: the same without collapsed ones.
    """

    question: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    class_name: str
    seeds: list[int]
    differences: list[float]
    interval: Interval
    collapsed_seeds: list[int]
    standing_interval: Interval
    p: float = math.nan
    joint_p: float = math.nan
    joint_interval: Interval = _UNKNOWN
    family: int = 0
    smallest_p: float = math.nan
    equivalence_p: float = math.nan
    effect_size: float = math.nan
    correlation: float = math.nan
    welch: Interval = _UNKNOWN
    seeds_needed: tuple[int, int, int] | None = None
    by_slice: list[float] = field(default_factory=list)
    pooled_interval: Interval = _UNKNOWN
    by_volume: dict[int, float] = field(default_factory=dict)
    paired: bool = True
    runs: tuple[int, int] = (0, 0)
    standing_runs: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The name of the contrast in tables and charts.

        >>> nothing = Interval(0.0, 0.0, 0.0)
        >>> arguments = ["er", [0], [0.0], nothing, [], nothing]
        >>> Contrast("filter", ("unet-off",), ("unet-on",), *arguments).name
        'unet-on less unet-off'
        >>> Contrast("filter", ("a-off", "b-off"), ("a-on", "b-on"), *arguments).name
        'mean of a-on, b-on less mean of a-off, b-off'
        """
        return (
            f"{side_text(self.second, self.question)} less {side_text(self.first, self.question)}"
        )

    @property
    def is_tested(self) -> bool:
        """Whether there are seeds enough for a test at 5 %."""
        return not math.isnan(self.joint_p)

    @property
    def slices(self) -> int:
        """Number of test slices that hold the class."""
        return sum(not math.isnan(difference) for difference in self.by_slice)

    @property
    def covers_slices(self) -> bool:
        """Whether `pooled_interval` is of 95 %; with fewer seeds or slices it only describes."""
        return (
            self.paired
            and len(self.seeds) >= SEEDS_FOR_SLICES
            and self.slices >= SLICES_FOR_INTERVAL
        )

    @property
    def is_main_effect(self) -> bool:
        """Whether it is between means of several configurations."""
        return len(self.first) > 1 and self.question != "interaction"


def contrasts_of(
    configurations: Mapping[str, Sequence[FinishedRun]],
    pairs: Sequence[Pairing],
    margin: float = 0.01,
) -> list[Contrast]:
    """A contrast for each pairing and foreground class, those of a question tested together.

    A class in no test slice has no contrast, nor have sides without a common seed. `margin` is the
    F1 below which a difference does not matter.
    """
    # Without the background, of which the paper reports no score either.
    class_names = next(iter(configurations.values()))[0].class_names[1:]
    computed = [
        _contrast(configurations, pairing, class_name, margin)
        for pairing in pairs
        for class_name in class_names
    ]
    contrasts = _with_pooled_intervals(
        configurations, [contrast for contrast in computed if contrast is not None]
    )
    families: dict[tuple[str, bool], list[int]] = {}
    for k, contrast in enumerate(contrasts):
        # The parts of a main effect follow it up, and do not widen its family.
        families.setdefault((contrast.question, contrast.is_main_effect), []).append(k)
    for family in families.values():
        # Another program's seed 0 has nothing in common with ours: there are no pairs to flip.
        family = [k for k in family if contrasts[k].paired]
        tests = [
            dict(zip(contrasts[k].seeds, contrasts[k].differences, strict=True)) for k in family
        ]
        result = family_test(tests)
        for place, k in enumerate(family):
            contrasts[k] = replace(
                contrasts[k],
                p=result.p[place],
                joint_p=result.adjusted_p[place],
                joint_interval=result.intervals[place],
                family=sum(not math.isnan(p) for p in result.p),
                smallest_p=result.smallest_p,
            )
    return contrasts


def _contrast(
    configurations: Mapping[str, Sequence[FinishedRun]],
    pairing: Pairing,
    class_name: str,
    margin: float,
) -> Contrast | None:
    """The contrast of one class; None without common seeds, or a test slice with the class."""
    all_runs = [[configurations[name] for name in side] for side in (pairing.first, pairing.second)]
    (first, second), paired = compared_runs(all_runs)
    # An interaction is a difference of differences; a main effect is a mean of differences.
    share = 1 if pairing.question == "interaction" else len(pairing.first)
    first_scores, second_scores = (
        [score / share for score in side_f1(side, class_name)] for side in (first, second)
    )
    # F1 is NaN for a class that no test slice holds.
    if not first_scores or any(math.isnan(score) for score in (*first_scores, *second_scores)):
        return None
    pairs = zip(first_scores, second_scores, strict=True) if paired else ()
    differences = [b - a for a, b in pairs]
    collapsed_seeds, (first_stands, second_stands) = standing_runs(
        (first, second), collapsed_of([*all_runs[0], *all_runs[1]], class_name), paired
    )
    by_slice = side_f1_by_slice(second, class_name) - side_f1_by_slice(first, class_name)
    by_slice = by_slice / share
    # Two differences give a deviation with one degree of freedom, which says next to nothing.
    is_varied = len(differences) >= _SEEDS_FOR_POWER
    return Contrast(
        question=pairing.question,
        first=pairing.first,
        second=pairing.second,
        class_name=class_name,
        seeds=[run.seed for run in first[0]] if paired else [],
        differences=differences,
        interval=_interval(first_scores, second_scores, paired),
        collapsed_seeds=collapsed_seeds,
        standing_interval=_interval(
            list(compress(first_scores, first_stands)),
            list(compress(second_scores, second_stands)),
            paired,
        ),
        equivalence_p=equivalence_p(differences, margin),
        effect_size=effect_size(first_scores, second_scores),
        correlation=correlation(first_scores, second_scores) if paired else math.nan,
        welch=welch_interval(first_scores, second_scores),
        seeds_needed=seeds_needed_range(differences) if is_varied else None,
        by_slice=by_slice.tolist(),
        # All runs of a data set were scored on the same slices, in the same order.
        by_volume=mean_by_volume(by_slice, first[0][0].places["test"]),
        paired=paired,
        runs=(len(first_scores), len(second_scores)),
        standing_runs=(sum(first_stands), sum(second_stands)),
    )


def _interval(first: list[float], second: list[float], paired: bool) -> Interval:
    """The 95 % interval of the second side less the first, by seed or without pairs."""
    if not paired:
        return welch_interval(first, second)
    return t_interval([b - a for a, b in zip(first, second, strict=True)])


def _with_pooled_intervals(
    configurations: Mapping[str, Sequence[FinishedRun]], contrasts: Sequence[Contrast]
) -> list[Contrast]:
    """The contrasts with their intervals over seeds and slices."""
    some_run = next(iter(configurations.values()))[0]
    # scores.json may list the slices in any order, but blocks are of neighbours.
    places = some_run.places["test"]
    along_z = sorted(range(len(places)), key=lambda k: places[k])
    volumes = np.array([places[k].volume for k in along_z])
    # Of each run once, and not for each contrast that it is in.
    values = pooled_by_seed(configurations, along_z)
    completed = []
    for contrast in contrasts:
        column = some_run.class_names.index(contrast.class_name)
        sides = (contrast.first, contrast.second)
        if not contrast.paired:
            means = [
                float(np.mean([of_run[column] for of_run in values[name].values()]))
                for (name,) in sides
            ]
            interval = Interval(means[1] - means[0], math.nan, math.nan)
            completed.append(replace(contrast, pooled_interval=interval))
            continue
        first, second = (
            np.sum([[values[name][seed][column] for seed in contrast.seeds] for name in side], 0)
            for side in sides
        )
        share = 1 if contrast.question == "interaction" else len(contrast.first)
        interval = slice_interval((second - first) / share, volumes, contrast.slices)
        completed.append(replace(contrast, pooled_interval=interval))
    return completed
