"""By how much configurations differ, paired by seed, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fibseg.arrays import Floats, Place
from fibseg.comparison.paired import (
    SEEDS_FOR_TEST,
    SIGN_DRAWS,
    Interval,
    holm,
    seeds_needed_range,
    sign_flip_p,
    t_interval,
)
from fibseg.comparison.pairings import Pairing
from fibseg.comparison.rows import collapsed_runs
from fibseg.runs.finished import FinishedRun

SLICE_BLOCKS = 5
"""Parts of the test slices along z, of which each is left out once."""

_SEEDS_FOR_POWER = 3
"""Seeds from which the deviation is known well enough to say how many seeds are needed."""


@dataclass(frozen=True)
class Contrast:
    """Configuration `second` less configuration `first`, for one class, over seeds that both have.

    Attributes:
        kind: "filter", "model", "interaction" or "pair".
        first: name of the configuration that is subtracted; "A + B" for an interaction.
        second: name of the configuration that it is subtracted from.
        class_name: the class.
        seeds: seeds that all configurations have.
        differences: of the test F1, per seed.
        interval: mean of the differences, with Student's 95 % interval.
        collapsed_seeds: seeds of a run that collapsed on one of the sides.
        standing_interval: the interval without these seeds.
        p: of the sign-flip test; NaN with fewer than SEEDS_FOR_TEST seeds.
        adjusted_p: p adjusted by Holm over all contrasts of the data set.
        seeds_needed: number of seeds that see a difference of .01 with 80 % power, with the lower
            and upper end of its range; None below three seeds.
        by_slice: difference on each test slice, mean over seeds; NaN without the class.
        block_range: smallest and largest mean difference where one of SLICE_BLOCKS blocks of
            slices is left out; None below SLICE_BLOCKS slices that hold the class. Descriptive,
            since slices of a stack are not independent.
        by_volume: difference in each test volume that holds the class, mean over seeds.
    """

    kind: str
    first: str
    second: str
    class_name: str
    seeds: list[int]
    differences: list[float]
    interval: Interval
    collapsed_seeds: list[int]
    standing_interval: Interval
    p: float = math.nan
    adjusted_p: float = math.nan
    seeds_needed: tuple[int, int, int] | None = None
    by_slice: list[float] = field(default_factory=list)
    block_range: tuple[float, float] | None = None
    by_volume: dict[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the contrast in tables and charts.

        >>> nothing = Interval(0.0, 0.0, 0.0)
        >>> Contrast("filter", "unet-off", "unet-on", "er", [0], [0.0], nothing, [], nothing).name
        'unet-on less unet-off'
        """
        return f"{self.second} less {self.first}"


def contrasts_of(
    configurations: Mapping[str, Sequence[FinishedRun]], pairs: Sequence[Pairing]
) -> list[Contrast]:
    """A contrast for each pairing and foreground class, with p adjusted over all of them.

    A class in no test slice has no contrast, nor have sides without a common seed.
    """
    # Without the background, of which the paper reports no score either.
    class_names = next(iter(configurations.values()))[0].class_names[1:]
    computed = [
        _contrast(configurations, pairing, class_name)
        for pairing in pairs
        for class_name in class_names
    ]
    contrasts = [contrast for contrast in computed if contrast is not None]
    # The family is all contrasts of the data set, since a reader sees all of them.
    adjusted = holm([contrast.p for contrast in contrasts])
    return [
        replace(contrast, adjusted_p=p) for contrast, p in zip(contrasts, adjusted, strict=True)
    ]


def _contrast(
    configurations: Mapping[str, Sequence[FinishedRun]], pairing: Pairing, class_name: str
) -> Contrast | None:
    """The contrast of one class; None without a common seed, or a test slice with the class."""
    first = [configurations[label] for label in pairing.first]
    second = [configurations[label] for label in pairing.second]
    # One seed draws the same patches, whatever the model or filter: docs/ARCHITECTURE.md,
    # "Randomness". That is what makes runs of one seed a pair.
    seeds = sorted(set.intersection(*({run.seed for run in runs} for runs in (*first, *second))))
    differences = [
        _sum_of_f1(second, seed, class_name) - _sum_of_f1(first, seed, class_name) for seed in seeds
    ]
    # F1 is NaN for a class that no test slice holds.
    if not differences or any(math.isnan(difference) for difference in differences):
        return None
    # A collapse on either side spoils the pair.
    collapsed = {
        run.seed for runs in (*first, *second) for run in collapsed_runs(runs, class_name)
    } & set(seeds)
    standing = [
        difference
        for seed, difference in zip(seeds, differences, strict=True)
        if seed not in collapsed
    ]
    by_slice = _f1_by_slice(second, seeds, class_name) - _f1_by_slice(first, seeds, class_name)
    # All runs of a data set were scored on the same slices, in the same order.
    places = first[0][0].places["test"]
    return Contrast(
        kind=pairing.kind,
        first=" + ".join(pairing.first),
        second=" + ".join(pairing.second),
        class_name=class_name,
        seeds=seeds,
        differences=differences,
        interval=t_interval(differences),
        collapsed_seeds=sorted(collapsed),
        standing_interval=t_interval(standing),
        p=sign_flip_p(differences) if len(seeds) >= SEEDS_FOR_TEST else math.nan,
        # Two differences give a deviation with one degree of freedom, which says next to nothing.
        seeds_needed=seeds_needed_range(differences) if len(seeds) >= _SEEDS_FOR_POWER else None,
        by_slice=by_slice.tolist(),
        block_range=_block_range(by_slice, places),
        by_volume=_mean_by_volume(by_slice, places),
    )


def _sum_of_f1(side: Sequence[Sequence[FinishedRun]], seed: int, class_name: str) -> float:
    """Test F1 of a class by the runs of one seed, summed over the configurations of a side."""
    # fsum rounds once, so that the order of the runs does not change a difference.
    return math.fsum(
        run.f1("test")[class_name] for runs in side for run in runs if run.seed == seed
    )


def _f1_by_slice(
    side: Sequence[Sequence[FinishedRun]], seeds: Sequence[int], class_name: str
) -> Floats:
    """Test F1 (S,) of each slice: mean over seeds, summed over the configurations of a side.

    NaN where a slice does not hold the class.
    """
    column = side[0][0].class_names.index(class_name)
    means = [
        # A slice without the class is NaN in every run, so that no mean mixes numbers with NaN.
        np.mean([run.f1_by_slice("test")[:, column] for run in runs if run.seed in seeds], axis=0)
        for runs in side
    ]
    return np.asarray(np.sum(means, axis=0), np.float64)


def _block_range(by_slice: Floats, places: Sequence[Place]) -> tuple[float, float] | None:
    """Range of the mean difference without one block of slices along z, volume after volume."""
    # scores.json may list the slices in any order, but blocks are of neighbours.
    along_z = by_slice[sorted(range(len(places)), key=lambda k: places[k])]
    along_z = along_z[~np.isnan(along_z)]
    if len(along_z) < SLICE_BLOCKS:
        return None
    # Neighbouring slices resemble each other: leaving out single slices would show too little.
    blocks = np.array_split(np.arange(len(along_z)), SLICE_BLOCKS)
    means = [float(np.delete(along_z, block).mean()) for block in blocks]
    return min(means), max(means)


def _mean_by_volume(by_slice: Floats, places: Sequence[Place]) -> dict[int, float]:
    """Mean difference over the slices of each volume that holds the class."""
    volume_of_slice = np.array([place.volume for place in places])
    means = {}
    for volume in sorted({place.volume for place in places}):
        of_volume = by_slice[volume_of_slice == volume]
        # The mean of NaN alone would be a warning.
        if not np.isnan(of_volume).all():
            means[volume] = float(np.nanmean(of_volume))
    return means


def smallest_adjusted_p(contrasts: Sequence[Contrast]) -> float:
    """The smallest adjusted p that any data could give here; NaN without a test.

    It is the smallest p of the contrast with most seeds, times the size of the family: a sign-flip
    test of n seeds has 2**n outcomes, of which two are the most extreme.
    """
    seeds = [len(contrast.seeds) for contrast in contrasts if not math.isnan(contrast.p)]
    if not seeds:
        return math.nan
    # With so many seeds that signs are drawn, p cannot be below one of the draws.
    smallest_p = max(2.0 ** (1 - max(seeds)), 1 / (SIGN_DRAWS + 1))
    return min(1.0, len(seeds) * smallest_p)
