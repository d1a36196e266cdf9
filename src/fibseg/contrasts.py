"""Which configuration scored higher, and is it more than the luck of training? Paired by seed, over every run."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison import Run, configurations
from fibseg.errors import FibsegError
from fibseg.statistics import ENOUGH, Interval, holm, seeds_needed_range, sign_flip_p, t_interval

AREAS = re.compile(r"-(areas_[0-9x]+|scope_\w+)")
"""What the name of a filtered configuration has that its plain peer has not."""


@dataclass(frozen=True)
class Contrast:
    """Configuration `second` less configuration `first`, for one class, over seeds that both have.

    Attributes:
        kind: "filter", "model", "interaction" or "pair".
        first, second, class_name, seeds: what is compared; an interaction has two labels in each.
        differences: per seed, of the test F1.
        interval: Student's, 95 %.
        p, adjusted: of the sign-flip test, and by Holm over the family; NaN with fewer than ENOUGH seeds.
        needed: seeds to see a difference of .01 with 80 % power, and its range; None below three seeds.
        blocks: smallest and largest mean difference where one of BLOCKS blocks of slices is left out; descriptive,
            since slices of a stack are not independent. None below BLOCKS slices that hold the class.
        volumes: mean difference over seeds in each test volume that holds the class.
    """

    kind: str
    first: str
    second: str
    class_name: str
    seeds: list[int]
    differences: list[float]
    interval: Interval
    p: float = math.nan
    adjusted: float = math.nan
    needed: tuple[int, int, int] | None = None
    blocks: tuple[float, float] | None = None
    volumes: dict[int, float] = field(default_factory=dict)


VOLUMES = 6
"""Test volumes from which an interval over volumes is given: with fewer, each is listed."""

BLOCKS = 5
"""Parts of the test slices along z, of which each is left out once."""


def contrasts(runs: Sequence[Run], pairs: Sequence[tuple[str, str]] = ()) -> list[Contrast]:
    """Every contrast of one data set: filter, model, their interaction, and the pairs that are named.

    Raises:
        FibsegError: a pair names a configuration that is not there.
    """
    groups = configurations(runs)
    for label in itertools.chain(*pairs):
        if label not in groups:
            raise FibsegError(f"{label}: no such configuration; there are {', '.join(groups)}.")
    ordered, once = list(itertools.permutations(groups, 2)), list(itertools.combinations(groups, 2))
    by_filter = [("filter", (one,), (two,)) for one, two in ordered if _filtered(groups, one, two)]
    by_model = [("model", (one,), (two,)) for one, two in once if _models(groups, one, two)]
    both = [
        ("interaction", (*one[1], *two[2]), (*one[2], *two[1]))
        for one, two in itertools.combinations(by_filter, 2)
        if _models(groups, one[1][0], two[1][0]) and _models(groups, one[2][0], two[2][0])
    ]
    named = [("pair", (one,), (two,)) for one, two in pairs]
    found = [
        contrast
        for kind, first, second in [*by_filter, *by_model, *both, *named]
        for name in runs[0].names[1:]
        if (contrast := _contrast(kind, groups, first, second, name)) is not None
    ]
    adjusted = holm([one.p for one in found])
    return [replace(one, adjusted=value) for one, value in zip(found, adjusted, strict=True)]


def _filtered(groups: dict[str, list[Run]], plain: str, filtered: str) -> bool:
    """Whether two configurations differ in the filter only."""
    one, two = groups[plain][0].facts, groups[filtered][0].facts
    if one["model"] != two["model"] or one["filter"] != "off" or two["filter"] == "off":
        return False
    return _rest(plain, one) == AREAS.sub("", _rest(filtered, two))


def _models(groups: dict[str, list[Run]], first: str, second: str) -> bool:
    """Whether two configurations differ in the model only."""
    one, two = groups[first][0].facts, groups[second][0].facts
    same = one["filter"] == two["filter"] and _rest(first, one) == _rest(second, two)
    return bool(same and one["model"] != two["model"])


def _rest(label: str, facts: dict[str, object]) -> str:
    """What a name holds besides model and filter."""
    return label.removeprefix(f"{facts['model']}-{facts['filter']}")


def _contrast(
    kind: str, groups: dict[str, list[Run]], first: tuple[str, ...], second: tuple[str, ...], name: str
) -> Contrast | None:
    """Of one class; None where no seed is in all of them, or the class is in no test slice."""
    scores = {label: {run.seed: run.f1("test")[name] for run in groups[label]} for label in (*first, *second)}
    seeds = sorted(set.intersection(*(set(one) for one in scores.values())))
    values = [
        math.fsum(scores[label][seed] for label in second) - math.fsum(scores[label][seed] for label in first)
        for seed in seeds
    ]
    if not values or any(math.isnan(value) for value in values):
        return None
    p = sign_flip_p(values) if len(values) >= ENOUGH else math.nan
    needed = seeds_needed_range(values) if len(values) > 2 else None
    texts = " + ".join(first), " + ".join(second)
    differences = _by_slice([groups[label] for label in second], seeds, name)
    differences -= _by_slice([groups[label] for label in first], seeds, name)
    places = groups[first[0]][0].places["test"]
    along = _blocks(differences, [z for _, z in places]), _by_volume(differences, [volume for volume, _ in places])
    return Contrast(kind, *texts, name, seeds, values, t_interval(values), p, math.nan, needed, *along)


def _by_slice(side: Sequence[list[Run]], seeds: list[int], name: str) -> NDArray[np.float64]:
    """Test F1 (S,) of each slice, mean over seeds, summed over the configurations; NaN where none holds the class."""
    column = side[0][0].names.index(name)
    chosen = [[run.f1_by_slice("test")[:, column] for run in own if run.seed in seeds] for own in side]
    return np.asarray(np.sum([np.mean(own, axis=0) for own in chosen], axis=0), np.float64)


def _blocks(differences: NDArray[np.float64], positions: Sequence[int]) -> tuple[float, float] | None:
    """Range of the mean difference without one block of slices along z."""
    ordered = differences[np.argsort(positions, kind="stable")]
    ordered = ordered[~np.isnan(ordered)]
    if len(ordered) < BLOCKS:
        return None
    parts = np.array_split(np.arange(len(ordered)), BLOCKS)
    means = [float(np.delete(ordered, part).mean()) for part in parts]
    return min(means), max(means)


def _by_volume(differences: NDArray[np.float64], volumes: Sequence[int]) -> dict[int, float]:
    found = {}
    for volume in sorted(set(volumes)):
        own = differences[np.array(volumes) == volume]
        if not np.isnan(own).all():
            found[volume] = float(np.nanmean(own))
    return found


def sentence(one: Contrast, slices: int) -> str:
    """What may be said of a contrast, and no more."""
    up = one.interval.mean >= 0
    low, high = (one.interval.low, one.interval.high) if up else (-one.interval.high, -one.interval.low)
    seeds = f"{len(one.seeds)} seeds" if len(one.seeds) > 1 else "1 seed"
    ends = f"95 % interval over seeds {_digits(low)} to {_digits(high)}; {seeds}"
    return (
        f"On these {slices} test slices of this stack, {one.second} scored {_digits(abs(one.interval.mean))} "
        f"{'above' if up else 'below'} {one.first} for {one.class_name} "
        f"({ends if len(one.seeds) > 1 else f'{seeds}, no interval'}). "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def _digits(value: float) -> str:
    """.012 of a score.

    >>> _digits(0.0124), _digits(-0.004)
    ('.012', '-.004')
    """
    return f"{value:.3f}".replace("0.", ".", 1)
